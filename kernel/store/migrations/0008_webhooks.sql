-- Webhooks: one row per delivery that was accepted, that is: whose signature held. Its body is not here but in the run's input.
--
-- Ids are UUIDv7; the table is partitioned by week on the time inside them, and retention drops partitions.
create table webhook_deliveries (
  delivery_id uuid primary key,
  slug text not null,
  workflow_name text not null,
  received_at timestamptz not null,
  trigger_key text not null,
  -- the run that it started, or that an earlier delivery with the same trigger key had started
  run_id uuid not null,
  created boolean not null,
  method text not null,
  -- as the peer, a trusted proxy or the edge tells it
  source_ip inet,
  content_type text,
  body_sha256 bytea not null,
  body_bytes int not null,
  provider text,
  -- what the provider calls it, such as `issues` or `invoice.paid`
  event text,
  -- set when a person sent it again: the delivery whose envelope it repeats
  redelivery_of uuid
) partition by range (delivery_id);
create index webhook_deliveries_slug on webhook_deliveries (slug, delivery_id);
create index webhook_deliveries_workflow on webhook_deliveries (workflow_name, delivery_id);
