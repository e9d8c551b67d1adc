/**
 * Rotations of secrets as runs of the built-in workflow `centaur.rotate`: they outlive whoever runs them, are tried again with more and
 * more time in between, and are seen where runs are. The steps are `kernel/rotation`'s; values are in none of what is kept of them.
 */
export { lookAfterRotations } from './look-after.ts';
export { rotateWorkflow } from './workflow.ts';
