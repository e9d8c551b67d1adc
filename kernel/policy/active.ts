/** The policy that decides now. */
import type { Queryable } from '../store/index.ts';
import { BUILTIN_POLICY } from './builtin.ts';
import { type CompiledPolicy, compilePolicy, type PolicySchemas } from './compile.ts';
import { PolicyError } from './errors.ts';

export interface ActivePolicy {
  /** 0 is the built-in policy. */
  readonly version: number;
  readonly policy: CompiledPolicy;
  /** Decides beside it, without effect. */
  readonly shadow?: { readonly version: number; readonly policy: CompiledPolicy };
}

/**
 * What decides now: the active version, or the built-in policy while there is none. A shadow that no longer compiles is
 * left out.
 *
 * @throws PolicyError POLICY_BROKEN when the active version does not compile: deny everything then
 */
export async function activePolicy(store: Queryable, schemas?: PolicySchemas): Promise<ActivePolicy> {
  const { rows } = await store.query<{ version: number; source: string; state: string }>(
    `select version, source, state from policy_versions where state in ('active', 'shadow')`,
  );
  const active = rows.find(({ state }) => state === 'active');
  const { policy, problems } = compiled(active?.source ?? BUILTIN_POLICY, schemas);
  if (policy === undefined)
    throw new PolicyError(
      'POLICY_BROKEN',
      `version ${active?.version ?? 0} of the policy does not compile: publish one that does, or roll back`,
      problems,
    );
  const shadow = rows.find(({ state }) => state === 'shadow');
  const beside = shadow === undefined ? undefined : compiled(shadow.source, schemas).policy;
  return {
    version: active?.version ?? 0,
    policy,
    ...(shadow === undefined || beside === undefined ? {} : { shadow: { version: shadow.version, policy: beside } }),
  };
}

/** Whoever asks for each decision would else compile the same text each time. The last used are the last. */
const lately = new Map<string, ReturnType<typeof compilePolicy>>();
const LATELY_MOST = 4;

function compiled(source: string, schemas: PolicySchemas | undefined): ReturnType<typeof compilePolicy> {
  if (schemas !== undefined) return compilePolicy(source, schemas);
  const known = lately.get(source) ?? compilePolicy(source);
  lately.delete(source);
  lately.set(source, known);
  for (const [oldest] of lately) {
    if (lately.size <= LATELY_MOST) break;
    lately.delete(oldest);
  }
  return known;
}
