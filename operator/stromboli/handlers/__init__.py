"""Watch events → the queue. The only room that imports kopf; a handler says which object, and decides nothing."""
