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
  type Row = Record<string, unknown> & Stored;
  const rows = new Map<number, Row>();
  /** By field, then by value: made when a field is first asked for, so that a busy workspace stays quick. */
  const indexes = new Map<string, Map<unknown, Set<number>>>();
  let last = 0;

  const index = (row: Row) => {
    for (const [field, values] of indexes) {
      const ids = values.get(row[field]) ?? new Set();
      values.set(row[field], ids.add(row.id));
    }
  };
  const forget = (row: Row) => {
    for (const [field, values] of indexes) values.get(row[field])?.delete(row.id);
  };
  const found = (field: string, value: unknown): Row[] => {
    if (!indexes.has(field)) {
      const values = new Map<unknown, Set<number>>();
      for (const row of rows.values()) values.set(row[field], (values.get(row[field]) ?? new Set()).add(row.id));
      indexes.set(field, values);
    }
    const ids = [...(indexes.get(field)?.get(value) ?? [])];
    return ids.sort((one, other) => one - other).map((id) => rows.get(id) as Row);
  };

  return {
    insert(row) {
      const id = (last += 1);
      const made = { ...change(row), id, created_at: new Date().toISOString() };
      rows.set(id, made);
      index(made);
      return made;
    },
    findOneBy: (field, value) => found(field, value)[0],
    findBy: found,
    all: () => [...rows.values()],
    update(id, updates) {
      const before = rows.get(id);
      if (before === undefined) return undefined;
      forget(before);
      const after = { ...before, ...updates, id };
      rows.set(id, after);
      index(after);
      return after;
    },
    delete(id) {
      const row = rows.get(id);
      if (row !== undefined) forget(row);
      return rows.delete(id);
    },
  };
}
