return await Storage.Cli.Commands.StorageCommand.RunAsync(args).ConfigureAwait(false);
