"""The pure core: functions of their arguments, without files, clocks, logging or await."""
