// Which Releases have to be built before they can run.

import type { Build } from '../../model/manifest-types.ts';

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
  return buildCommands(build).length > 0;
}
