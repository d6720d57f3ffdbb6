"""A workflow that tags its requests."""

DESK = """\
workflow: desk
version: 1
purpose: Send a request to a desk by what it is about, without a fitted router.
models:
  slm: {use: "embedded:smollm2-135m"}
  embedder: {use: "embedded:all-minilm-l6-v2"}
intents:
  question: {task: short-answer}
start: desk
nodes:
  desk:
    kind: tag
    most: 1
    tags:
      payroll: {describe: "salaries, payslips and expenses", limit: 0.25}
      network: {describe: "wifi, VPN and network cables", limit: 0.25}
      kitchen: {describe: "the canteen, lunch and coffee", limit: 0.25}
    then:
      - {when: "'payroll' in tags.found", go: payroll}
      - {when: "'network' in tags.found", go: network}
      - {when: "'kitchen' in tags.found", go: kitchen}
      - {when: "size(tags.found) == 0", go: none}
      - {otherwise: unknown}
  payroll: {kind: refuse, say: "Ask payroll."}
  network: {kind: refuse, say: "Ask the network team."}
  kitchen: {kind: refuse, say: "Ask the kitchen."}
  none:    {kind: refuse, say: "Nobody here does that."}
  unknown: {kind: refuse, say: "A person will look."}
"""
