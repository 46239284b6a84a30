"""Talk to a policy: ``python src/serve.py model.path=outputs/first/model``, then http://127.0.0.1:8000 in a browser.

The same address takes requests of clients for OpenAI's API, at /v1. Ctrl-C ends it.
"""

from contextlib import closing, suppress
from functools import partial

from loupe.errors import UserError
from loupe.runs import build, cli, folder, run
from loupe.runs.config import instantiate

LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(cfg) -> None:
    """Answer requests until Ctrl-C."""
    try:
        from loupe.serving import answers, app, waiting
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed; pip install -e '.[serve]'") from error
    with run.job(cfg) as out, closing(app.bound(cfg.host, cfg.port)) as listening:
        folder.open_for_entry(cfg, out)
        limits = instantiate(cfg.serve)
        policy = instantiate(cfg.model, trainable=False)
        rollouts = answers.build_rollouts(cfg, policy, instantiate(cfg.tool))
        questions = waiting.Waiting(limits.max_waiting)
        hosts = ("127.0.0.1", "localhost", "[::1]") if cfg.host in LOCAL else ("*",)
        web = app.create_app(questions, list(rollouts), limits, hosts)
        with suppress(KeyboardInterrupt), build.device(cfg, policy), app.serving(web, listening, questions):
            print(announcement(cfg.host, listening.getsockname()[1]), flush=True)
            questions.work(partial(answers.completion, rollouts))
        print("\nstopped")


def announcement(host: str, port: int) -> str:
    """Where the server is, and who can use it."""
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    whom = (
        "for this machine alone; host=0.0.0.0 opens it to others"
        if host in LOCAL
        else "for whoever can reach this machine; there is no password"
    )
    return f"{address} ({whom})\nAPI: {address}/v1\nCtrl-C to stop"


main = cli.entry(serve)

if __name__ == "__main__":
    main()
