"""What operators look at in Grafana; nothing stands here yet."""
