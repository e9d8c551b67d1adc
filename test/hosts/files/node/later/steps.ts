/** It takes its name from the folder before. */
export const WORKFLOW_NAME = 'steps';

export const handler = (): string => 'from the later folder';
