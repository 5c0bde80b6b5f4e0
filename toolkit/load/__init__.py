"""The building blocks of a locustfile. Importing a module of this room patches the process (gevent)."""
