"""Where the world touches us: argv, TOML, MQTT, systemd."""
