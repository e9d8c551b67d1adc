/** The table of all routes. */
import type { Route } from '../route.ts';
import { accountRoutes } from './accounts.ts';
import { approvalRoutes } from './approvals.ts';
import { auditRoutes } from './audit.ts';
import { authRoutes } from './auth.ts';
import { chatRoutes } from './chats.ts';
import { dataRoutes } from './data.ts';
import { deliveryRoutes } from './deliveries.ts';
import { eventRoutes } from './events.ts';
import { inboxRoutes } from './inbox.ts';
import { keyRoutes } from './keys.ts';
import { leaseRoutes } from './leases.ts';
import { operationRoutes } from './operations.ts';
import { policyRoutes } from './policy.ts';
import { replayRoutes } from './replays.ts';
import { runRoutes } from './runs.ts';
import { secretRoutes } from './secrets.ts';
import { signInRoutes } from './signin.ts';
import { threadRoutes } from './threads.ts';
import { toolRoutes } from './tools.ts';
import { userRoutes } from './users.ts';
import { usageRoutes } from './usage.ts';
import { traceRoutes } from './traces.ts';
import { webhookRoutes } from './webhooks.ts';
import { workflowRoutes } from './workflows.ts';

export const ROUTES: readonly Route[] = [
  ...runRoutes,
  ...replayRoutes,
  ...eventRoutes,
  ...workflowRoutes,
  ...webhookRoutes,
  ...threadRoutes,
  ...inboxRoutes,
  ...deliveryRoutes,
  ...chatRoutes,
  ...toolRoutes,
  ...secretRoutes,
  ...accountRoutes,
  ...leaseRoutes,
  ...policyRoutes,
  ...approvalRoutes,
  ...auditRoutes,
  ...usageRoutes,
  ...traceRoutes,
  ...keyRoutes,
  ...userRoutes,
  ...authRoutes,
  ...signInRoutes,
  ...dataRoutes,
  ...operationRoutes,
];
