/** What tools declare, and what they may use of it: grants follow the declarations, and what is missing is known by name. */
import type { StoreLogEntry } from '../store/index.ts';
import { declareGrants, type DeclaredGrant, type Installation, usableGrants } from '../vault/index.ts';
import type { ServedTool, ToolRunner } from './types.ts';

export interface DeclaredGrants {
  /**
   * Brings the grants to what is declared now.
   *
   * @param takeBack also those that were declared here before, and are not any more. What another process declares, or one before this, is not
   * known to be over: such a grant gives a tool nothing that it does not declare
   */
  reconcile(takeBack: boolean): Promise<void>;
  /** Required secrets that the tool cannot use, and why. */
  missing(tool: ServedTool): readonly MissingSecret[];
  /** Looks again: somebody may have set a secret since. */
  look(): Promise<void>;
}

export interface MissingSecret {
  readonly name: string;
  /** It is in the vault, and somebody took the grant away. */
  readonly known: boolean;
}

const ACTOR = 'system:tools';

export function createDeclaredGrants(
  { store, audit }: Installation,
  runner: ToolRunner,
  log: (entry: StoreLogEntry) => void,
): DeclaredGrants {
  let usable = new Map<string, { readonly known: boolean; readonly granted: boolean }>();
  /** One at a time: what comes meanwhile is seen by the next one. */
  let last: Promise<void> = Promise.resolve();
  /** All that was declared here. */
  let before: readonly DeclaredGrant[] = [];

  function declared(): DeclaredGrant[] {
    return runner.list().flatMap((tool) => tool.secrets.map(({ name }) => ({ principal: principalOf(tool), secret: name })));
  }

  async function look(): Promise<void> {
    const rows = await usableGrants(store, declared());
    usable = new Map(rows.map((row) => [`${row.principal} ${row.secret}`, row]));
  }

  return {
    reconcile(takeBack) {
      const run = async () => {
        const now = declared();
        const isThere = new Set(now.map(nameOf));
        const over = takeBack ? before.filter((each) => !isThere.has(nameOf(each))) : [];
        const { added, removed } = await declareGrants({ store, audit }, ACTOR, now, { takeBack: over });
        before = takeBack ? now : [...new Map([...before, ...now].map((each) => [nameOf(each), each])).values()];
        if (added + removed > 0) log({ level: 'info', message: 'grants follow what tools declare', added, removed });
        await look();
      };
      return (last = last.then(run, run));
    },
    missing(tool) {
      return tool.secrets.flatMap(({ name, optional }) => {
        const found = usable.get(`${principalOf(tool)} ${name}`);
        return optional || found?.granted === true ? [] : [{ name, known: found?.known === true }];
      });
    },
    look,
  };
}

const nameOf = ({ principal, secret }: DeclaredGrant): string => `${principal} ${secret}`;

/** As whom a tool's process acts. */
export function principalOf({ name }: ServedTool): string {
  return `tool:${name}`;
}
