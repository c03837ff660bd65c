"""Training. Start reading at `loop`; what it calls, in the order of a run:

workdir, checkpoints: the folder of a run, and all that is kept in it to go on later.
run: what a run is made of. resuming: how it begins, anew or where it was left.
initialization: a network's first variables. state, step: what a step changes, and the step. task_gradients: those of
each task by itself. loss_weighting: the weights that are learned. schedules, averaging: the learning rate over the run,
the moving average of what is learned.
history: every decision that depends on the past. record, group_watch: what is remembered of an epoch.
shrinking: a network that gets smaller while it trains. interruption: Ctrl-C.
events, messages, results: what people get to see.
"""
