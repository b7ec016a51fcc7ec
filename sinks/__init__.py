"""Takes things off Kafka: into ClickHouse, and proves that nothing is missing."""
