"""A local AWS with hosts that really boot, for rehearsing the playbooks without an account."""
