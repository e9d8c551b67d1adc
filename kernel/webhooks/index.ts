/**
 * Webhooks: what the world sends here becomes runs.
 *
 * It promises that nothing is written before a delivery's signature holds, that an accepted delivery is one run however
 * often it comes, that both are committed before the answer, and that what proves the sender is stored nowhere. A declaration
 * that is not understood is refused and shown; none is ever served more openly than it says. It knows no HTTP server: see
 * `routes/webhooks.ts` of the API.
 *
 * Read `types.ts` for what a webhook is, `receive.ts` for the way of a delivery, `registry.ts` for who has a slug, `verify.ts`
 * for signatures. All that decides about a delivery without a database also runs at the edge: see `ingress/edge`.
 */
import type { Engine, WorkflowRegistry } from '../engine/index.ts';
import type { Store, StoreLogEntry } from '../store/index.ts';
import type { Installation } from '../vault/index.ts';
import { createDeliveries, type Deliveries, type DeliveryView } from './deliveries.ts';
import { createLimits } from './limits.ts';
import { type Incoming, receive, type Received } from './receive.ts';
import { type Redelivered, redeliver } from './redeliver.ts';
import { createRegistry, type WebhookProblem } from './registry.ts';
import { createSecrets, SecretProblem } from './secrets.ts';
import { createSources } from './source.ts';
import type { HmacAuth, WebhookAuth } from './types.ts';

export { type DeliveryFilter, type DeliveryView, dropOldDeliveries } from './deliveries.ts';
export { WEBHOOK_ERRORS, WebhookError, type WebhookErrorCode } from './errors.ts';
export { EDGE_SECRET, type Incoming, type Received } from './receive.ts';
export type { Redelivered } from './redeliver.ts';
export type { WebhookProblem } from './registry.ts';
export { parseWebhookSpecs } from './spec.ts';
export * from './sign.ts';
export type * from './types.ts';

/** Nothing of it is secret. */
export type AuthForm =
  | Pick<HmacAuth, 'header' | 'prefix' | 'encoding' | 'algorithm' | 'timestampHeader'>
  | { readonly header: string; readonly scheme: string };

/** A webhook that is served, as it is shown. */
export interface WebhookView {
  readonly slug: string;
  readonly workflow_name: string;
  readonly source: string | null;
  readonly provider: string | null;
  /** The type of its auth. */
  readonly auth: string;
  /** Where its proof stands and in which form; null where its type says all. */
  readonly auth_form: AuthForm | null;
  readonly secret_ref: string | null;
  /** Why its secret does not verify anything now; null when it does. */
  readonly secret_problem: string | null;
  readonly methods: readonly string[];
  readonly enabled: boolean;
}

export interface WebhooksOptions {
  readonly engine: Engine;
  readonly store: Store;
  readonly workflows: WorkflowRegistry;
  readonly log?: (entry: StoreLogEntry) => void;
  /** Without it, secrets come from the environment alone. */
  readonly installation?: Pick<Installation, 'master' | 'audit'> | undefined;
  /** Default: that of the process. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Addresses or ranges whose X-Forwarded-For is believed. Default none. */
  readonly trustedProxies?: readonly string[] | undefined;
  /** How long deliveries are kept. Default 30, as runs are. */
  readonly retentionDays?: number;
  /** Milliseconds since 1970, by which signatures are too old. Default: the database's clock. */
  readonly now?: () => number;
}

export interface Webhooks {
  /** @throws WebhookError, EngineError */
  receive(incoming: Incoming): Promise<Received>;
  /** Whether a delivery for this slug would be looked at. */
  serves(slug: string): boolean;
  list(): Promise<readonly WebhookView[]>;
  /** Declarations that are not served. */
  problems(): readonly WebhookProblem[];
  readonly deliveries: Pick<Deliveries, 'get' | 'list'>;
  redeliver(delivery: DeliveryView): Promise<Redelivered>;
  close(): Promise<void>;
}

export async function createWebhooks(options: WebhooksOptions): Promise<Webhooks> {
  const { engine, store, workflows, installation, log = () => {}, environment = process.env } = options;
  const now = options.now ?? store.now;
  const secrets = await createSecrets({ store, installation, environment, log });
  const deliveries = await createDeliveries({ store, log, retentionDays: options.retentionDays ?? 30, audit: installation?.audit });
  const [floods, limits] = [createLimits(() => performance.now()), createLimits(() => performance.now())];
  const sources = createSources(options.trustedProxies ?? []);
  const registry = createRegistry({ workflows, log, onChange: (slugs) => [floods, limits].forEach((each) => each.keep(slugs)) });
  const parts = { engine, store, registry, secrets, floods, limits, sources, deliveries, now };

  async function secretProblem(ref: string | null): Promise<string | null> {
    if (ref === null) return null;
    try {
      await secrets.get(ref);
      return null;
    } catch (error) {
      if (error instanceof SecretProblem) return error.message;
      throw error;
    }
  }

  return {
    receive: (incoming) => receive(parts, incoming),
    serves: (slug) => registry.get(slug) !== undefined,
    list: async () =>
      Promise.all(
        registry.list().map(async ({ spec: { slug, provider, auth, allowedMethods, enabled }, workflow, source }) => {
          const secret_ref = 'secretRef' in auth ? auth.secretRef : null;
          const secret_problem = await secretProblem(secret_ref);
          return {
            slug,
            workflow_name: workflow,
            source,
            provider,
            auth: auth.type,
            auth_form: formOf(auth),
            secret_ref,
            secret_problem,
            methods: allowedMethods,
            enabled,
          };
        }),
      ),
    problems: () => registry.problems(),
    deliveries,
    redeliver: (delivery) => redeliver(parts, delivery),
    async close() {
      registry.close();
      secrets.close();
      await deliveries.close();
    },
  };
}

function formOf(auth: WebhookAuth): AuthForm | null {
  if (auth.type === 'bearer') return { header: auth.header, scheme: auth.scheme };
  if (auth.type !== 'hmac') return null;
  const { header, prefix, encoding, algorithm, timestampHeader } = auth;
  return { header, prefix, encoding, algorithm, ...(timestampHeader === undefined ? {} : { timestampHeader }) };
}
