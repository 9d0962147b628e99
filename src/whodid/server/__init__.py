"""The HTTP server: ingest, search and the viewer in one ASGI application.

`create_app` makes the application, `run` serves it. Everything here is a thin, distrustful shell:
who may come in (`auth`), how large and how long (`settings`), what an error looks like
(`problems`); what is stored and found is the store's business.
"""
