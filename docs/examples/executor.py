"""An agent that counts: meerkat-worker executor docs.examples.executor:executor."""

from worker.executor import Executor, Run

executor = Executor()


@executor.run
async def count(run: Run) -> str:
    """Remember, from run to run, how many messages there were."""
    so_far = int(await run.snapshot() or b"0") + len(run.inputs)
    await run.boundary(snapshot=b"%d" % so_far, messages=so_far)
    return f"{so_far} messages so far"
