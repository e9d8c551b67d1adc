/**
 * Which slug leads to which workflow. A file that comes later never takes a slug that is served: the workflow that has it keeps
 * it, and the newcomer has a problem. Where two come at once, the first by name has it.
 */
import type { RegisteredWorkflow, WorkflowRegistry } from '../engine/index.ts';
import type { StoreLogEntry } from '../store/index.ts';
import { isOwnVariable } from '../vault/index.ts';
import { parseWebhookSpecs } from './spec.ts';
import type { WebhookSpec } from './types.ts';

export interface ServedWebhook {
  readonly spec: WebhookSpec;
  readonly workflow: string;
  /** The workflow's file. */
  readonly source: string | null;
}

/** Why a declaration is not served. */
export interface WebhookProblem {
  readonly workflow: string;
  /** The workflow's file, or its name when it is in none. */
  readonly file: string;
  readonly message: string;
}

export interface WebhookRegistry {
  /** Undefined for a slug that nobody declares, that was refused, or that is turned off. */
  get(slug: string): ServedWebhook | undefined;
  /** By slug, those that are turned off too. */
  list(): readonly ServedWebhook[];
  problems(): readonly WebhookProblem[];
  close(): void;
}

export interface RegistryOptions {
  readonly workflows: WorkflowRegistry;
  readonly log: (entry: StoreLogEntry) => void;
  readonly onChange: (slugs: ReadonlySet<string>) => void;
}

/** What the API answers itself below `/webhooks`. */
const PATHS_OF_THE_API = new Set(['deliveries']);

export function createRegistry({ workflows, log, onChange }: RegistryOptions): WebhookRegistry {
  let served: ReadonlyMap<string, ServedWebhook> = new Map();
  let problems: readonly WebhookProblem[] = [];

  function update(): void {
    const before = { served, problems };
    ({ served, problems } = settle(workflows.list(), served));
    tell(before.served, before.problems);
    onChange(new Set(served.keys()));
  }

  function tell(servedBefore: ReadonlyMap<string, ServedWebhook>, problemsBefore: readonly WebhookProblem[]): void {
    for (const [slug, { spec, workflow }] of served) {
      const known = servedBefore.get(slug);
      if (known !== undefined && known.workflow === workflow && JSON.stringify(known.spec) === JSON.stringify(spec)) continue;
      const { provider, auth, enabled } = spec;
      log({ level: 'info', message: 'workflow_webhook_registered', slug, workflow_name: workflow, provider, auth: auth.type, enabled });
    }
    for (const [slug, { workflow }] of servedBefore)
      if (!served.has(slug)) log({ level: 'info', message: 'workflow_webhook_removed', slug, workflow_name: workflow });
    const known = new Set(problemsBefore.map((each) => JSON.stringify(each)));
    for (const problem of problems)
      if (!known.has(JSON.stringify(problem)))
        log({ level: 'error', message: `webhook refused: ${problem.message}`, workflow_name: problem.workflow, file: problem.file });
  }

  update();
  const stop = workflows.onChange(update);
  return {
    get(slug) {
      const found = served.get(slug);
      return found?.spec.enabled === true ? found : undefined;
    },
    list: () => [...served.values()].toSorted((a, b) => (a.spec.slug < b.spec.slug ? -1 : 1)),
    problems: () => problems,
    close: stop,
  };
}

function settle(workflows: readonly RegisteredWorkflow[], before: ReadonlyMap<string, ServedWebhook>) {
  const served = new Map<string, ServedWebhook>();
  const problems: WebhookProblem[] = [];
  const claims = workflows.toSorted((a, b) => (a.name < b.name ? -1 : 1)).flatMap((each) => claimsOf(each, problems));
  const [holders, newcomers] = [[] as Claim[], [] as Claim[]];
  for (const claim of claims) (before.get(claim.spec.slug)?.workflow === claim.workflow ? holders : newcomers).push(claim);
  for (const claim of [...holders, ...newcomers]) {
    const holder = served.get(claim.spec.slug);
    if (holder === undefined) served.set(claim.spec.slug, claim);
    else problems.push(problemOf(claim, `the slug "${claim.spec.slug}" is served by the workflow ${holder.workflow}`));
  }
  return { served, problems };
}

type Claim = ServedWebhook;

function claimsOf({ name, webhooks = [], ...workflow }: RegisteredWorkflow, problems: WebhookProblem[]): Claim[] {
  const source = workflow.source ?? null;
  if (webhooks.length === 0) return [];
  const parsed = parseWebhookSpecs(webhooks);
  for (const { field, message } of parsed.problems) problems.push(problemOf({ workflow: name, source }, `${field}: ${message}`));
  return parsed.specs.flatMap((spec) => {
    const claim = { spec, workflow: name, source };
    const refusal = refusalOf(spec);
    if (refusal === undefined) return [claim];
    problems.push(problemOf(claim, refusal));
    return [];
  });
}

function refusalOf({ slug, auth }: WebhookSpec): string | undefined {
  if (PATHS_OF_THE_API.has(slug)) return `the slug "${slug}" is a path of the API; take another one`;
  if ('secretRef' in auth && isOwnVariable(auth.secretRef))
    return `secret_ref of "${slug}": ${auth.secretRef} is the installation's own, and no secret of a provider`;
  return undefined;
}

function problemOf({ workflow, source }: Pick<Claim, 'workflow' | 'source'>, message: string): WebhookProblem {
  return { workflow, file: source ?? workflow, message };
}
