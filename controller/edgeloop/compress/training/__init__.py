"""What passes that train share: the trainable form of a model, the user's data and loss, one loop, one judge.

Law: torch is imported inside functions alone, so that this room can be looked at without it. A trainable form is the
user's own function and the weights as they are now, never a pickled module. Nothing is trained on what a stage is
judged by.
"""
