// Which Releases have to be built before they can run.

import type { Artifact } from '../../model/documents.ts';
import type { Build } from '../../model/manifest-types.ts';

/** What a Node must be able to work with to build it. */
export const buildArtifact = (build: Build): Artifact['kind'] => (build.kind === 'dockerfile' ? 'image' : 'bundle');

/** The commands that make the artifact out of the folder; empty: the folder is the artifact. */
export function buildCommands(build: Build): readonly (readonly string[])[] {
  switch (build.kind) {
    case 'commands':
    case 'static':
      return build.commands;
    case 'none':
    case 'image':
    case 'dockerfile':
      return [];
  }
}

export function needsBuild(build: Build): boolean {
  return build.kind === 'dockerfile' || buildCommands(build).length > 0;
}
