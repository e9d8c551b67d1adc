/** Checking a run's input in the engine's own process. */
import { EngineError } from '@centaur/kernel/engine';
import type { StandardSchemaV1 } from '@centaur/sdk';
import { type Checked, checkInput } from '../program/input.ts';

/** @returns what a run's input is turned into, with defaults and transforms applied. @throws EngineError INVALID_INPUT */
export function inputParser(workflow: string, schema: StandardSchemaV1): (input: unknown) => unknown {
  return (input) => {
    const checked = checkInput(schema, input);
    return checked instanceof Promise ? checked.then((settled) => accept(workflow, settled)) : accept(workflow, checked);
  };
}

function accept(workflow: string, checked: Checked): unknown {
  if (checked.ok) return checked.value;
  throw new EngineError('INVALID_INPUT', `${workflow}: ${checked.error}`, { details: { issues: checked.issues } });
}
