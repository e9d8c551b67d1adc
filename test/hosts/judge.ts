/** All scenarios against one host. */
import { type Lab, type Scenario, openLab } from './lab.ts';
import type { HostCommand } from './process.ts';
import { SCENARIOS } from './scenarios/index.ts';

export interface Verdict {
  readonly line: string;
  /** Undefined when the scenario passed. */
  readonly failure: string | undefined;
}

/** One after the other: a scenario that fails says why, and the next one is asked all the same. */
export async function judge(
  command: HostCommand,
  wanted: (title: string) => boolean,
  tell: (verdict: Verdict) => void,
): Promise<Verdict[]> {
  const opened = await openLab(command).catch((error: Error) => error);
  if (opened instanceof Error) {
    const verdict = { line: `FAILED ${command.name.padEnd(7)}it answers no discovery`, failure: opened.message };
    tell(verdict);
    return [verdict];
  }
  await using lab = opened;
  const verdicts: Verdict[] = [];
  for (const scenario of SCENARIOS) {
    const title = `${scenario.area}: ${scenario.name}`;
    if (scenario.language !== undefined && scenario.language !== lab.language) continue;
    if (!wanted(title)) continue;
    const verdict = await judgeOne(lab, scenario, `${command.name.padEnd(7)}${title}`);
    verdicts.push(verdict);
    tell(verdict);
  }
  return verdicts;
}

async function judgeOne(lab: Lab, scenario: Scenario, title: string): Promise<Verdict> {
  const began = performance.now();
  const failure = await scenario.run(lab).then(
    () => undefined,
    (error: Error) => error.message,
  );
  const took = `${Math.round(performance.now() - began)} ms`;
  return { line: `${failure === undefined ? 'ok    ' : 'FAILED'} ${title} (${took})`, failure };
}
