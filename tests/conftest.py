pytest_plugins = [
    "tests.servers.mariadb",
    "tests.servers.postgres",
    "tests.servers.redis",
    "tests.servers.valkey",
]
