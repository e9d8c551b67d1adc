/** From an environment to an edge, saying on the console what is wrong with it. */
import { refusal } from './answer.ts';
import { type Environment, readConfig } from './config.ts';
import { createEdge, type Edge, type EdgeLog } from './edge.ts';

const log: EdgeLog = (entry) => console.error(JSON.stringify(entry));

/** An edge that lacks what it needs answers 503 to everything. */
export function startEdge(environment: Environment): Edge {
  const { options, problems } = readConfig(environment);
  for (const problem of problems) log({ level: 'error', message: 'the configuration has a problem', problem });
  if (options !== undefined) return createEdge({ ...options, log });
  return { fetch: () => Promise.resolve(refusal(503, 'EDGE_MISCONFIGURED', 'this edge is not configured')) };
}
