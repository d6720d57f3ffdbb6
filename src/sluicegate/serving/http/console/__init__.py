"""The console at `/console`: pages for the people who decide, watch and operate, served by the API's own application.

A page is a module in `pages/` that exports `PAGE`, a `Page` with its routes and, where it has one, its entry in the
navigation; `pages/__init__.py` lists them. Its templates are in `templates/`, and extend `layout.html`.

The rules that the ground keeps, so that no page can forget them:

- **Who looks.** Each route is wrapped by `guarding.guarded`. The viewer is known before the handler begins
  (`viewer_of(request)`, a `Caller`), by the same `Callers` as the API's: a token that was revoked ends its session with
  the next request. What a viewer may see or do is asked of the services and their policies, as the API asks them;
  `calls.of_run` finds the service of the run that an address names.
- **Forms.** A `POST` reaches its handler only from a page of this console, with the token of the viewer's session:
  put `{{ csrf }}` into every form, read it with `form_of(request)`. Redirect after a `POST` that has done something
  (`see_other`). A form whose action is not idempotent names the state that it acts on, in a hidden field, and is
  refused (409) when that has changed: then a doubled click, a second tab and the back button have one effect.
- **Pages.** `render(request, "name.html", **values)` knows the viewer, the navigation and the form token; values are
  escaped, and one that is missing is an error. There is no inline script or style, and no handler in an attribute: the
  content security policy forbids them. What can be done without the script is done without it.
- **Addresses** hold ids and filters, never a text of a run; nor does the log.
- **Errors** are raised as in the API (`Fault`, or any error with a code), and are shown as a page.
- **Parts of a page** that follow what happens are answers of their own, fetched by htmx (`hx-get`,
  `hx-trigger="every 10s"`, `hx-swap="outerMorph"`) or pushed (`hx-sse:connect`, with the block `scripts` loading
  `hx-sse.min.js`). They never contain a form, so that nothing is lost that somebody types. An error leaves them as they
  were.
"""
