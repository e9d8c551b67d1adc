/** A worker with agents in a process of its own, to be killed. */
import { createAgentWorker, type WorkerSettings } from './agents.ts';

const settings = JSON.parse(process.env['AGENT_WORKER'] as string) as WorkerSettings;
await createAgentWorker(settings, true, (entry) => {
  if (entry.level === 'error') console.error(JSON.stringify(entry));
});
process.send?.('up');
