using System.CommandLine;
using System.Text.Json;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Cli.Daemons;
using Storage.S3;
using Storage.S3.Backend;
using Storage.S3.Users;

namespace Storage.Cli.Data;

/// <summary><c>s3</c>: users of the S3 gateways, and the gateway itself.</summary>
internal static class S3Commands
{
    public static Command Build() => StorageCommand.Group(
        "s3",
        "S3: users, and the gateway itself.",
        StorageCommand.Group("user", "Users of the S3 gateways.", Create(), List(), Info(), Remove()),
        S3Daemon.Mkfs(),
        S3Daemon.Run());

    private static Argument<string> Id() => new("ID") { Description = "The user's id, or TENANT$ID." };

    private static Verb Create()
    {
        var id = new Argument<string>("ID") { Description = "The user's id." };
        var display = new Option<string?>("--display-name") { Description = "Name for people." };
        var email = new Option<string?>("--email") { Description = "E-mail address." };
        var tenant = new Option<string?>("--tenant") { Description = "Tenant whose buckets it sees." };
        return new Verb("create", "Creates a user with a key pair.", "storage s3 user create alice --display-name 'Alice A.'", "storage s3 user create bob --json | jq -r .access_key") { id, display, email, tenant }
            .Does((run, cancellation) => RunAsync(run, cancellation, async users =>
                Print(run, await users.CreateAsync(run.Get(id), run.Get(display) ?? "", run.Get(email) ?? "", run.Get(tenant) ?? "", cancellation).ConfigureAwait(false))));
    }

    private static Verb List() => new Verb("ls", "All users.", "storage s3 user ls").Does((run, cancellation) => RunAsync(run, cancellation, async users =>
    {
        IReadOnlyList<S3User> all = await users.ListAsync(cancellation).ConfigureAwait(false);
        if (run.Json)
        {
            Console.Out.WriteLine(MessageJson.Write(writer =>
            {
                writer.WriteStartArray();
                foreach (S3User user in all)
                {
                    Write(writer, user, secrets: false);
                }

                writer.WriteEndArray();
            }));
            return;
        }

        Table table = Terminal.Table("ID", "NAME", "E-MAIL", "ACCESS KEYS");
        foreach (S3User user in all)
        {
            table.Row(user.FullId, user.DisplayName, user.Email, string.Join(' ', user.Keys.Select(key => key.AccessKey)));
        }

        run.Out.Write(table);
    }));

    private static Verb Info()
    {
        Argument<string> id = Id();
        return new Verb("info", "A user with its keys.", "storage s3 user info alice") { id }.Does((run, cancellation) => RunAsync(run, cancellation, async users =>
            Print(run, await users.FindAsync(run.Get(id), cancellation).ConfigureAwait(false) ?? throw NotFound(run.Get(id)))));
    }

    private static Verb Remove()
    {
        Argument<string> id = Id();
        return new Verb("rm", "Removes a user and its keys; its buckets stay.", "storage s3 user rm alice") { id }.Does((run, cancellation) => RunAsync(run, cancellation, async users =>
        {
            if (!await users.RemoveAsync(run.Get(id), cancellation).ConfigureAwait(false))
            {
                throw NotFound(run.Get(id));
            }

            if (!run.Json)
            {
                run.Out.WriteLine($"user {run.Get(id)} removed");
            }
        }));
    }

    private static CliException NotFound(string id) => new($"no user '{id}'; see 'storage s3 user ls'.");

#pragma warning disable CA1068 // a function reads best as the last argument
    private static Task RunAsync(Invocation run, CancellationToken cancellation, Func<UserStore, Task> function) =>
#pragma warning restore CA1068
        DataSession.RunAsync(run, cancellation, client => function(new UserStore(client, new S3Options(), TimeProvider.System)));

    private static void Print(Invocation run, S3User user)
    {
        if (run.Json)
        {
            Console.Out.WriteLine(MessageJson.Write(writer => Write(writer, user, secrets: true)));
            return;
        }

        run.Out.WriteLine($"user {user.FullId} ({user.DisplayName})");
        foreach (AccessKeyPair key in user.Keys)
        {
            run.Out.WriteLine($"  access key: {key.AccessKey}");
            run.Out.WriteLine($"  secret key: {key.SecretKey}");
        }
    }

    private static void Write(Utf8JsonWriter writer, S3User user, bool secrets)
    {
        writer.WriteStartObject();
        writer.WriteString("id", user.Id);
        writer.WriteString("tenant", user.Tenant);
        writer.WriteString("display_name", user.DisplayName);
        writer.WriteString("email", user.Email);
        if (user.Keys.Length > 0)
        {
            writer.WriteString("access_key", user.Keys[0].AccessKey);
            if (secrets)
            {
                writer.WriteString("secret_key", user.Keys[0].SecretKey);
            }
        }

        writer.WriteStartArray("keys");
        foreach (AccessKeyPair key in user.Keys)
        {
            writer.WriteStartObject();
            writer.WriteString("access_key", key.AccessKey);
            if (secrets)
            {
                writer.WriteString("secret_key", key.SecretKey);
            }

            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }
}
