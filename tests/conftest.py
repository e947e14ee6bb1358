from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

pytest_plugins = [
    "tests.faults.figures",
    "tests.model.figures",
    "tests.oracle.figures",
    "tests.race.figures",
    "tests.servers.mariadb",
    "tests.servers.postgres",
    "tests.servers.redis",
    "tests.servers.cluster",  # after the plugin that it imports
    "tests.servers.valkey",
]
