/** The tables that emulate's Slack plug-in keeps its state in: it is handed them, so that we can read and write the same rows. */

export interface Stored {
  readonly id: number;
}

export interface Table<R extends object> {
  insert(row: R): R & Stored;
  findOneBy(field: string, value: unknown): (R & Stored) | undefined;
  findBy(field: string, value: unknown): (R & Stored)[];
  all(): (R & Stored)[];
  update(id: number, changes: Partial<R>): (R & Stored) | undefined;
  delete(id: number): boolean;
}

export interface Tables {
  collection<R extends object>(name: string): Table<R>;
  getData(key: string): unknown;
  setData(key: string, value: unknown): void;
  /** What becomes of a row before it is stored, whoever inserts it. */
  onInsert<R extends object>(name: string, change: (row: R) => R): void;
}

export function createTables(): Tables {
  const tables = new Map<string, Table<object>>();
  const data = new Map<string, unknown>();
  const changes = new Map<string, (row: object) => object>();
  return {
    collection<R extends object>(name: string): Table<R> {
      let table = tables.get(name);
      if (table === undefined) {
        table = createTable((row) => changes.get(name)?.(row) ?? row);
        tables.set(name, table);
      }
      return table as Table<R>;
    },
    getData: (key) => data.get(key),
    setData: (key, value) => void data.set(key, value),
    onInsert: (name, change) => void changes.set(name, change as unknown as (row: object) => object),
  };
}

function createTable(change: (row: object) => object): Table<object> {
  const rows = new Map<number, Record<string, unknown> & Stored>();
  let last = 0;
  return {
    insert(row) {
      const id = (last += 1);
      const made = { ...change(row), id, created_at: new Date().toISOString() };
      rows.set(id, made);
      return made;
    },
    findOneBy: (field, value) => [...rows.values()].find((row) => row[field] === value),
    findBy: (field, value) => [...rows.values()].filter((row) => row[field] === value),
    all: () => [...rows.values()],
    update(id, updates) {
      const before = rows.get(id);
      if (before === undefined) return undefined;
      const after = { ...before, ...updates, id };
      rows.set(id, after);
      return after;
    },
    delete: (id) => rows.delete(id),
  };
}
