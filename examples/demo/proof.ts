/** Holding the service's request log against the checkpoints that existed when the worker was killed. */
import type { Request } from './service.ts';

/** A kill, and what was checkpointed at that moment according to Postgres. */
export interface Kill {
  /** When the process had ended: what is asked for later, another worker asks. Milliseconds since 1970. */
  readonly at: number;
  readonly completed: ReadonlySet<string>;
}

export interface Finding {
  readonly step: string;
  readonly requests: number;
  /** Number of the first kill that found the step completed; undefined when none did. */
  readonly completedBeforeKill: number | undefined;
  /** Kills that found it asked for and not completed: it had to run again. */
  readonly inFlightAtKill: readonly number[];
  readonly verdict: 'once' | 'in flight' | 'MISSING' | 'REPEATED';
}

/**
 * A step is asked for once, and once more for each kill that hit it in flight. No request of a step may follow a kill
 * that found it completed.
 *
 * @param steps every step that the run must have asked for
 */
export function judge(steps: readonly string[], requests: readonly Request[], kills: readonly Kill[]): Finding[] {
  return steps.map((step) => {
    const own = requests.filter((request) => request.step === step);
    const completedAt = kills.findIndex((kill) => kill.completed.has(step));
    const inFlightAtKill = kills.flatMap((kill, index) => {
      const since = kills[index - 1]?.at ?? 0;
      const asked = own.some((request) => request.at >= since && request.at < kill.at);
      return asked && !kill.completed.has(step) ? [index + 1] : [];
    });
    const afterCompletion = own.filter((request) => completedAt >= 0 && request.at >= (kills[completedAt]?.at ?? 0));
    const repeated = afterCompletion.length > 0 || own.length > 1 + inFlightAtKill.length || keysOf(own) > 1;
    return {
      step,
      requests: own.length,
      completedBeforeKill: completedAt < 0 ? undefined : completedAt + 1,
      inFlightAtKill,
      verdict: own.length === 0 ? 'MISSING' : repeated ? 'REPEATED' : own.length > 1 ? 'in flight' : 'once',
    };
  });
}

export function holds(findings: readonly Finding[]): boolean {
  return findings.every(({ verdict }) => verdict === 'once' || verdict === 'in flight');
}

/** Two tries of one step share a key; two keys would be two effects. */
function keysOf(requests: readonly Request[]): number {
  return new Set(requests.map((request) => request.idempotencyKey)).size;
}
