/** The table of all routes. */
import type { Route } from '../route.ts';
import { eventRoutes } from './events.ts';
import { keyRoutes } from './keys.ts';
import { operationRoutes } from './operations.ts';
import { runRoutes } from './runs.ts';
import { workflowRoutes } from './workflows.ts';

export const ROUTES: readonly Route[] = [...runRoutes, ...eventRoutes, ...workflowRoutes, ...keyRoutes, ...operationRoutes];
