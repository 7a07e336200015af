"""What the one-shot systems share: any face becomes anybody of whom there is one photo, by one network that was trained once.

`faces`: how networks look at a face; `losses`: what they learn from; `learning`: the phases of a training; `drawing`: their use.
"""
