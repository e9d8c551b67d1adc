/**
 * Which slug leads to which workflow. A file that comes later never takes a slug that is served: the workflow that has it keeps
 * it, and the newcomer has a problem; it does so while its own declaration is refused, and then nobody is served. Where two come
 * at once, neither is: every process decides alike, whatever it saw before.
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
  let holders: ReadonlyMap<string, string> = new Map();

  function update(): void {
    const before = { served, problems };
    ({ served, problems, holders } = settle(workflows.list(), holders));
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

/** @param before the workflow that holds each slug */
function settle(workflows: readonly RegisteredWorkflow[], before: ReadonlyMap<string, string>) {
  const served = new Map<string, ServedWebhook>();
  const holders = new Map<string, string>();
  const problems: WebhookProblem[] = [];
  const claims = workflows.toSorted((a, b) => (a.name < b.name ? -1 : 1)).flatMap((each) => claimsOf(each, problems));
  for (const [slug, claimants] of Map.groupBy(claims, (claim) => claim.slug)) {
    const holder = claimants.find(({ workflow }) => workflow === before.get(slug)) ?? (claimants.length === 1 ? claimants[0] : undefined);
    if (holder !== undefined) holders.set(slug, holder.workflow);
    if (holder?.spec !== undefined) served.set(slug, { spec: holder.spec, workflow: holder.workflow, source: holder.source });
    const names = claimants.map(({ workflow }) => workflow).join(', ');
    const message =
      holder === undefined
        ? `the slug "${slug}" is declared by several workflows at once (${names}), and served by none of them`
        : `the slug "${slug}" is held by the workflow ${holder.workflow}`;
    for (const claim of claimants) if (claim !== holder) problems.push(problemOf(claim, message));
  }
  return { served, problems, holders };
}

interface Claim {
  readonly slug: string;
  readonly workflow: string;
  readonly source: string | null;
  /** Undefined when the declaration is refused. */
  readonly spec: WebhookSpec | undefined;
}

function claimsOf({ name, webhooks = [], ...workflow }: RegisteredWorkflow, problems: WebhookProblem[]): Claim[] {
  const source = workflow.source ?? null;
  if (webhooks.length === 0) return [];
  const parsed = parseWebhookSpecs(webhooks);
  for (const { field, message } of parsed.problems) problems.push(problemOf({ workflow: name, source }, `${field}: ${message}`));
  const understood = parsed.specs.map((spec): Claim => {
    const refusal = refusalOf(spec);
    if (refusal !== undefined) problems.push(problemOf({ workflow: name, source }, refusal));
    return { slug: spec.slug, workflow: name, source, spec: refusal === undefined ? spec : undefined };
  });
  return [...understood, ...parsed.refused.map((slug): Claim => ({ slug, workflow: name, source, spec: undefined }))];
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
