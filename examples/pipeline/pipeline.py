"""A pipeline of `runnable` whose tasks, Python and shell, track into one run under its run id.

Run it, and see README.md for where to look:

    pip install 'steplog[daemon]' runnable
    cd examples/pipeline && python pipeline.py
"""

import os

import tasks
from runnable import Map, Parallel, Pipeline, PythonTask, ShellTask

# A shell task gets the environment that it names, and nothing else but `RUNNABLE_RUN_ID`.
SHELL_ENVIRONMENT = [name for name in ("PATH", "HOME", "STEPLOG_HOME") if name in os.environ]


def main() -> Pipeline:
    """Run the pipeline; each task is found in the run log under its own name."""
    pipeline = Pipeline(
        steps=[
            PythonTask(name="prepare", function=tasks.prepare, returns=["chunks"]),
            PythonTask(name="train model", function=tasks.train),
            ShellTask(
                name="evaluate",
                command="export STEPLOG_TASK=evaluate; steplog track accuracy=0.93 note=fine",
                secrets=SHELL_ENVIRONMENT,
            ),
            Parallel(
                name="sizes",
                branches={
                    "small": PythonTask(name="fit", function=tasks.fit_small).as_pipeline(),
                    "large": PythonTask(name="fit", function=tasks.fit_large).as_pipeline(),
                },
            ),
            Map(
                name="chunks",
                iterate_on="chunks",
                iterate_as="chunk",
                branch=PythonTask(name="process", function=tasks.process).as_pipeline(),
            ),
        ]
    )
    pipeline.execute()
    return pipeline


if __name__ == "__main__":
    main()
