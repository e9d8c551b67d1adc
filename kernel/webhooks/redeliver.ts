/** Sending a delivery again: a fresh run with the envelope that the first one got, whatever became of that. */
import type { Engine, StartedRun } from '../engine/index.ts';
import { type Store, uuidv7 } from '../store/index.ts';
import { DELIVERY, type DeliveryView } from './deliveries.ts';

export interface Redelivered {
  readonly delivery_id: string;
  readonly run_id: string;
  readonly workflow_name: string;
  readonly redelivery_of: string;
}

interface Parts {
  readonly engine: Engine;
  readonly store: Store;
}

/** @throws EngineError RUN_NOT_FOUND when the first run, which has the envelope, is past its retention; UNKNOWN_WORKFLOW */
export async function redeliver({ engine, store }: Parts, delivery: DeliveryView): Promise<Redelivered> {
  const { input } = await engine.getRun(delivery.run_id);
  const deliveryId = uuidv7(store.now());
  // a key of its own, so that the first run is not the answer
  const triggerKey = `webhook:${delivery.slug}:redelivery:${deliveryId}`;
  const row = {
    deliveryId,
    slug: delivery.slug,
    workflow: delivery.workflow_name,
    receivedAt: store.now(),
    triggerKey,
    method: delivery.method,
    sourceIp: delivery.source_ip,
    contentType: delivery.content_type,
    bodySha256: Buffer.from(delivery.body_sha256, 'hex'),
    bodyBytes: delivery.body_bytes,
    provider: delivery.provider,
    event: delivery.event,
    redeliveryOf: delivery.delivery_id,
  };
  const request = { workflow_name: delivery.workflow_name, input, trigger_key: triggerKey };
  const run: StartedRun = await engine.start(request, { companion: DELIVERY, row }, `webhook:${delivery.slug}`);
  return { delivery_id: deliveryId, run_id: run.run_id, workflow_name: delivery.workflow_name, redelivery_of: delivery.delivery_id };
}
