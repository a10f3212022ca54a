using System.CommandLine;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;

namespace Storage.Cli.Commands;

/// <summary>What is wrong with a command line, in one line for each mistake and one on how it is written, on standard error.</summary>
internal static class UsageErrors
{
    /// <summary>Reports mistakes in the arguments of a verb; where no verb is named the list of verbs is the better answer, which is left to the caller.</summary>
    /// <returns>Whether there were any.</returns>
    public static bool Report(ParseResult parsed)
    {
        if (parsed.Action is not ParseErrorAction || parsed.CommandResult.Command is not Verb verb)
        {
            return false;
        }

        string path = Path(parsed.CommandResult);
        foreach (string text in parsed.Errors.Select(Describe).Distinct(StringComparer.Ordinal))
        {
            Console.Error.WriteLine($"storage: {text}");
        }

        IEnumerable<string> words = verb.Arguments.Select(Word)
            .Concat(verb.Options.Where(option => option.Required).Select(option => $"{option.Name} {option.HelpName ?? option.Name.TrimStart('-').ToUpperInvariant()}"));
        Console.Error.WriteLine($"usage: {string.Join(' ', [path, .. words])} [options]; {path} --help tells more");
        return true;
    }

    private static string Describe(ParseError error)
    {
        switch (error.SymbolResult)
        {
            case ArgumentResult { Argument: { } argument } result when error.Message.StartsWith("Required argument", StringComparison.Ordinal):
                return result.Parent is OptionResult of ? $"{of.Option.Name} needs a value" : $"{argument.Name} is missing";
            case ArgumentResult { Argument: { } argument } result when error.Message.StartsWith("Cannot parse", StringComparison.Ordinal):
                string name = result.Parent is OptionResult holder ? holder.Option.Name : argument.Name;
                return $"'{string.Join(' ', result.Tokens.Select(token => token.Value))}' is no value for {name}, which is {Kind(argument.ValueType)}";
            case OptionResult { Option: { } option } result when error.Message.StartsWith("Cannot parse", StringComparison.Ordinal):
                return $"'{string.Join(' ', result.Tokens.Select(token => token.Value))}' is no value for {option.Name}, which is {Kind(option.ValueType)}";
            case OptionResult { Option: { } option } when error.Message.StartsWith("Required argument", StringComparison.Ordinal):
                return $"{option.Name} needs a value";
            default:
                if (error.Message.StartsWith("Option '", StringComparison.Ordinal) && error.Message.EndsWith("' is required.", StringComparison.Ordinal))
                {
                    return $"{error.Message.Split('\'')[1]} is missing";
                }

                return error.Message.Replace("\n\t", " ", StringComparison.Ordinal).TrimEnd('.');
        }
    }

    private static string Kind(Type type)
    {
        Type value = Nullable.GetUnderlyingType(type) ?? type;
        return value == typeof(uint) || value == typeof(ulong) ? "a whole number from 0"
            : value == typeof(int) || value == typeof(long) ? "a whole number"
            : value == typeof(Guid) ? "a UUID"
            : value.IsEnum ? $"one of {string.Join(", ", Enum.GetNames(value).Select(name => name.ToLowerInvariant()))}"
            : "of another form";
    }

    private static string Word(Argument argument)
    {
        string name = argument.Name + (argument.Arity.MaximumNumberOfValues > 1 ? "..." : "");
        return argument.Arity.MinimumNumberOfValues > 0 && !argument.HasDefaultValue ? name : $"[{name}]";
    }

    private static string Path(CommandResult result) => result.Parent is CommandResult above ? $"{Path(above)} {result.Command.Name}" : "storage";
}
