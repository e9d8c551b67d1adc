/** What is asked of a policy, and what it answers. */

export type Effect = 'allow' | 'approve' | 'deny';

/** When a request was made: an input like any other, so that it is decided the same way years later. UTC. */
export interface PolicyTime {
  readonly iso: string;
  /** 0 to 23. */
  readonly hour: number;
  /** 1 is Monday, 7 is Sunday. */
  readonly weekday: number;
  readonly weekend: boolean;
}

interface Caller {
  /** `workflow:nightly_report`, `thread:…`, `user:…`. */
  readonly principal: string;
  readonly agent?: { readonly id: string; readonly tenant?: string };
  /** Ids of the run and the thread, and the workflow's name. */
  readonly run?: string;
  readonly workflow?: string;
  readonly thread?: string;
  /** In which the turn was asked for, where the bot there says so: `channel:slack:C1`. */
  readonly channel?: string;
  readonly now: PolicyTime;
  /** What was spent when it was asked; there when a rule reads it. */
  readonly spend?: Spend;
}

/** Tokens of all kinds, and money in millionths. */
export interface Spent {
  readonly tokens: number;
  readonly micros: number;
}

interface Windows {
  readonly day: Spent;
  readonly month: Spent;
}

/** Of the request's thread, or of its workflow when it has none; of the user whose turn it is; of everybody. By days and months of UTC. */
export interface Spend extends Windows {
  readonly user: Windows;
  readonly all: Windows;
}

export interface EgressRequest extends Caller {
  readonly kind: 'egress';
  /** Who asked for the turn that sends it, where somebody answers for that. */
  readonly user?: string;
  readonly lease: { readonly id: string; readonly kind: string };
  readonly scheme: string;
  /** Canonical: lower case, punycode, no trailing dot. */
  readonly host: string;
  readonly port: number;
  /** In capitals. */
  readonly method: string;
  /** Canonical, without the query. */
  readonly path: string;
  /** Of the body as announced; 0 when it is not known. */
  readonly bytes: number;
  /** Names of the secrets that this request would use. */
  readonly secrets: readonly string[];
  /** It uses a placeholder that is bound to this host. */
  readonly credentialed: boolean;
  /** The host is open in the egress configuration. */
  readonly listed: boolean;
}

export interface ToolRequest extends Caller {
  readonly kind: 'tool';
  /** Whose turn it is that asks, where that is one user's alone. */
  readonly user?: string;
  readonly tool: { readonly name: string; readonly risk: string };
  /** JSON that fits the tool's schema: whoever dispatches has checked that. */
  readonly args: unknown;
  readonly integration?: { readonly id: string; readonly tenant?: string; readonly env?: string };
}

export type PolicyRequest = EgressRequest | ToolRequest;

export interface Decision {
  readonly effect: Effect;
  /** Which rule decided; null when none matched, and the default did. */
  readonly rule: string | null;
  /** Of an approval. */
  readonly gate?: string;
  /** What an agent may be told. */
  readonly message?: string;
  /** To be counted before an allowance is used; one that is used up makes it an approval at `gate`. */
  readonly limits: readonly LimitUse[];
  /** Rules in shadow mode that match: without effect. */
  readonly shadow: readonly { readonly rule: string; readonly effect: Effect }[];
  /** Conditions that failed. They were taken as their effect demands: see `createDecider`. */
  readonly errors: readonly { readonly rule: string; readonly message: string }[];
}

export interface LimitUse {
  readonly rule: string;
  readonly key: string;
  readonly max: number;
  readonly perMs: number;
  readonly gate: string;
}

export interface Explanation {
  readonly decision: Decision;
  /** Every rule for requests of this kind. */
  readonly rules: readonly RuleTrace[];
}

export interface RuleTrace {
  readonly rule: string;
  readonly effect: Effect;
  readonly mode: 'enforce' | 'shadow';
  readonly matched: boolean;
  /** In the order in which they were looked at, up to the first that is false; the parts of a condition are all there. */
  readonly clauses: readonly { readonly clause: string; readonly result: boolean | { readonly error: string } }[];
}

export function policyTime(ms: number): PolicyTime {
  const date = new Date(ms);
  const weekday = date.getUTCDay() === 0 ? 7 : date.getUTCDay();
  return { iso: date.toISOString(), hour: date.getUTCHours(), weekday, weekend: weekday > 5 };
}
