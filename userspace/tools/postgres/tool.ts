/** Postgres: reads with SQL, shows tables, changes them where a person agrees. See README.md. */
import { defineTool } from '@centaur/sdk';
import { queryMethods } from './queries.ts';
import { DATABASE } from './session.ts';
import { tableMethods } from './tables.ts';

export default defineTool({
  description: 'A Postgres database: query it with SQL, see its schemas and tables, change it where that is approved.',
  secrets: [
    {
      name: DATABASE,
      type: 'pg_dsn',
      description: 'postgres://… of a user that may create roles, with the option role=… for the rights of each session',
    },
  ],
  // each has a session, and the firewall gives ten to a lease
  concurrency: 8,
  methods: { ...queryMethods, ...tableMethods },
});
