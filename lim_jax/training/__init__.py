"""Training. Start reading at `loop`; what it calls, in the order of a run:

workdir, lock: the folder of a run, held by one process at a time.
checkpoints, stored, digests: all that is kept in it to go on later: written, read, and checked for damage.
run: what a run is made of. resuming: how it begins, anew or where it was left. epochs: what comes before and after the
steps of each. profiling: a trace of some steps.
initialization: a network's first variables. state, step: what a step changes, and the step. task_gradients: those of
each task by itself. loss_weighting: the weights that are learned. schedules, averaging: the learning rate over the run,
the moving average of what is learned.
bad_steps, divergence: what is no longer finite: a step that is skipped, a run that ends.
history: every decision that depends on the past. record, group_watch: what is remembered of an epoch.
shrinking: a network that gets smaller while it trains. interruption: Ctrl-C.
events, trackers, messages, results: what people get to see.
"""
