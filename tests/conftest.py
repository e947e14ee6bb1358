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
