/** All that a host must do, area by area. */
import type { Scenario } from '../lab.ts';
import { caseScenarios } from './cases.ts';
import { discoveryScenarios } from './discovery.ts';
import { inputScenarios } from './input.ts';
import { killScenarios } from './kills.ts';
import { replayScenarios } from './replay.ts';
import { runScenarios } from './runs.ts';
import { lastScenario, transportScenarios } from './transport.ts';
import { wordScenarios } from './words.ts';

export const SCENARIOS: readonly Scenario[] = [
  ...discoveryScenarios,
  ...inputScenarios,
  ...runScenarios,
  ...caseScenarios,
  ...wordScenarios,
  ...replayScenarios,
  ...killScenarios,
  ...transportScenarios,
  lastScenario,
];
