pytest_plugins = [
    "tests.model.figures",
    "tests.servers.mariadb",
    "tests.servers.postgres",
    "tests.servers.redis",
    "tests.servers.valkey",
]
