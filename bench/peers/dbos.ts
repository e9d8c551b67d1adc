import { DBOS } from '@dbos-inc/dbos-sdk';
import pg from 'pg';
import type { Adapter } from '../adapter.ts';

/** An hour: longer than any workload waits. */
const RECEIVE_TIMEOUT_S = 3600;

/** Runs start in the process that asks, which is DBOS's fastest way; its queues poll. */
export async function create(url: string): Promise<Adapter> {
  DBOS.setConfig({
    name: 'bench',
    systemDatabaseUrl: url,
    systemDatabasePoolSize: 20,
    runAdminServer: false,
    logLevel: 'error',
    // one id for both processes of the recovery workload: without it DBOS leaves the killed one's runs alone
    executorID: 'bench',
    applicationVersion: '1',
  });
  const workflows = new Map<string, (input: unknown) => Promise<unknown>>();
  const client = new pg.Client(url);
  return {
    define(name, handler) {
      const workflow = DBOS.registerWorkflow(
        (input: unknown) =>
          handler(input as never, {
            step: (step, fn) => DBOS.runStep(fn, { name: step }),
            sleepUntil: (time) => DBOS.sleep(Math.max(0, time - Date.now())),
            waitFor: (key) => DBOS.recv(key, RECEIVE_TIMEOUT_S),
          }),
        { name },
      );
      workflows.set(name, workflow);
    },
    async launch() {
      await DBOS.launch();
      await client.connect();
    },
    async start(name, input) {
      const workflow = workflows.get(name);
      if (workflow === undefined) throw new Error(`${name} is not defined`);
      return (await DBOS.startWorkflow(workflow)(input)).workflowID;
    },
    emit: (runId, key) => DBOS.send(runId, {}, key),
    async done() {
      const { rows } = await client.query<{ n: number }>("select count(*)::int as n from dbos.workflow_status where status = 'SUCCESS'");
      return rows[0]?.n ?? 0;
    },
  };
}
