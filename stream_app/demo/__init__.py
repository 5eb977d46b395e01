"""The demo: plays a drawn site or videos through Kafka, kills a worker, and judges what came out.

The judge and its books share no code with the core: whoever judges a program must not share its mistakes.
"""
