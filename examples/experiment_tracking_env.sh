# Track from a shell script, by environment variables alone.
#
# Run it as a task, fold what it tracked, and look at it:
#
#     steplog exec --task shell -- sh examples/experiment_tracking_env.sh
#     steplogd drain
#     steplog show RUN --json
#
# A number, a list and an object become what they read like in JSON, everything else is a text.

export STEPLOG_TRACK_spam=hello
export STEPLOG_TRACK_eggs='{"ham": "world"}'
export STEPLOG_TRACK_answer=42.0
