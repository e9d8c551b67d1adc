export const WORKFLOW_NAME = 'only_later';

export const handler = (): string => 'from the later folder';
