using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Storage.Mutants;

/// <summary>
/// Finds the places of one file that can be changed and writes all changes into it, each behind a question for its number. Only inserts,
/// and never a line break, so that lines keep their numbers.
/// </summary>
internal sealed partial class SourceMutator
{
    private readonly string _file;
    private readonly string _text;
    private readonly CompilationUnitSyntax _root;
    private readonly Func<int> _nextNumber;
    private readonly Func<Mutant, bool> _keep;
    private readonly List<(int Start, int End, string Prefix, string Suffix)> _edits = [];

    /// <summary>Creates the mutator of a file.</summary>
    /// <param name="file">Its name, for the list.</param>
    /// <param name="text">Its content.</param>
    /// <param name="nextNumber">Gives numbers, the same for the same sources.</param>
    /// <param name="keep">Whether a mutant is wanted.</param>
    public SourceMutator(string file, string text, Func<int> nextNumber, Func<Mutant, bool> keep)
    {
        _file = file;
        _text = text;
        _nextNumber = nextNumber;
        _keep = keep;
        _root = CSharpSyntaxTree.ParseText(text, new CSharpParseOptions(LanguageVersion.Preview)).GetCompilationUnitRoot();
    }

    /// <summary>What was put in.</summary>
    public List<Mutant> Mutants { get; } = [];

    /// <summary>Puts the mutants in.</summary>
    /// <returns>The changed source.</returns>
    public string Rewrite()
    {
        foreach (SyntaxNode node in _root.DescendantNodes(Enter))
        {
            if (!Enter(node) || IsFixed(node))
            {
                continue;
            }

            switch (node)
            {
                case IfStatementSyntax statement:
                    Condition(statement);
                    break;
                case WhileStatementSyntax { Condition: var condition } when !Declares(condition):
                    Wrap(condition, ("loop left out", n => ($"!{Is(n)} && (", ")")));
                    break;
                case ConditionalExpressionSyntax { Condition: var condition } when !Declares(condition):
                    Wrap(condition, ("choice turned", n => ($"{Is(n)} ^ (", ")")));
                    break;
                case BinaryExpressionSyntax binary:
                    Binary(binary);
                    break;
                case ExpressionStatementSyntax statement:
                    Statement(statement);
                    break;
                case ReturnStatementSyntax statement:
                    Return(statement);
                    break;
                case ContinueStatementSyntax statement when IsEarly(statement):
                    Wrap(statement, ("continue left out", n => ($"if (!{Is(n)}) ", "")));
                    break;
                case ArrowExpressionClauseSyntax { Expression: var value } arrow when ReturnsBool(arrow) && !Declares(value):
                    Truth(value, "answer");
                    break;
            }
        }

        var text = new StringBuilder();
        // At one place what ends comes before what begins; of what begins there the longest is outside, and what was found first.
        var marks = _edits.SelectMany((e, i) => new[]
        {
            (At: e.Start, Kind: 1, Length: -(e.End - e.Start), Order: i, Text: e.Prefix),
            (At: e.End, Kind: 0, Length: e.End - e.Start, Order: -i, Text: e.Suffix),
        }).OrderBy(m => m.At).ThenBy(m => m.Kind).ThenBy(m => m.Length).ThenBy(m => m.Order);
        int copied = 0;
        foreach ((int at, _, _, _, string inserted) in marks)
        {
            text.Append(_text, copied, at - copied).Append(inserted);
            copied = at;
        }

        return text.Append(_text, copied, _text.Length - copied).ToString();
    }

    private static string Is(int number) => string.Create(CultureInfo.InvariantCulture, $"global::Storage.Coding.Mutations.Is({number})");

    // What is said and counted, and what other code of ours leaves out in every other build.
    [GeneratedRegex(@"Invariant\.|\.Reached\(|RarePath|\.Log(Debug|Information|Warning|Error)\(|draft\.Log\(|Mutations\.|ThrowIf|Dispose\(|_log(ger)?\.Log|[Ss]tatistics|Trace\.|GC\.")]
    private static partial Regex Talk();

    // Members that only tell about state.
    [GeneratedRegex(@"^(ToString|Dispose|Describe|Explain|Inspect|Query|Format|GetHashCode|Equals|Status|Dump|Show)")]
    private static partial Regex Telling();

    private static bool Enter(SyntaxNode node) => node switch
    {
        ConstructorDeclarationSyntax or AttributeListSyntax or EnumDeclarationSyntax or ParameterListSyntax or SwitchLabelSyntax or CatchFilterClauseSyntax or ThrowStatementSyntax
            or InterpolatedStringExpressionSyntax or PatternSyntax => false,
        MethodDeclarationSyntax method => !Telling().IsMatch(method.Identifier.Text),
        LocalDeclarationStatementSyntax local => !local.IsConst,
        FieldDeclarationSyntax => false,
        ExpressionStatementSyntax statement => !Talk().IsMatch(statement.ToString()),
        _ => true,
    };

    // Whoever asks for deliberate bugs is left alone.
    private static bool IsFixed(SyntaxNode node) =>
        node is BinaryExpressionSyntax or ConditionalExpressionSyntax or ReturnStatementSyntax or ArrowExpressionClauseSyntax && Talk().IsMatch(node.ToString());

    private static bool Declares(SyntaxNode node) =>
        node.DescendantNodesAndSelf().Any(n => n is DeclarationExpressionSyntax or SingleVariableDesignationSyntax || (n is ArgumentSyntax a && a.RefKindKeyword.IsKind(SyntaxKind.OutKeyword)));

    private void Condition(IfStatementSyntax statement)
    {
        ExpressionSyntax condition = statement.Condition;
        if (Talk().IsMatch(condition.ToString()) || IsOnlyTalk(statement.Statement))
        {
            return;
        }

        string[] declared = [.. condition.DescendantNodesAndSelf().OfType<SingleVariableDesignationSyntax>().Select(d => d.Identifier.Text)];
        if (!Declares(condition))
        {
            Truth(condition, "condition");
            return;
        }

        // A name that only one of the branches may use allows only that branch to be taken without a reason.
        SyntaxNode? outside = statement.Parent;
        bool inside = Uses(statement.Statement, declared);
        bool after = (statement.Else is { } other && Uses(other, declared))
            || (outside is not null && outside.DescendantNodes().Any(n => n is IdentifierNameSyntax name && declared.Contains(name.Identifier.Text) && n.SpanStart > statement.Statement.Span.End));
        if (!after)
        {
            Wrap(condition, ("condition false", n => ("(", $") && !{Is(n)}")));
        }
        else if (!inside)
        {
            Wrap(condition, ("condition true", n => ("(", $") || {Is(n)}")));
        }
    }

    private static bool Uses(SyntaxNode node, string[] names) =>
        node.DescendantNodesAndSelf().Any(n => n is IdentifierNameSyntax name && names.Contains(name.Identifier.Text));

    private static bool IsOnlyTalk(StatementSyntax statement) => statement switch
    {
        BlockSyntax block => block.Statements.Count > 0 && block.Statements.All(IsOnlyTalk),
        ExpressionStatementSyntax => Talk().IsMatch(statement.ToString()),
        ThrowStatementSyntax => false,
        _ => false,
    };

    private void Truth(ExpressionSyntax value, string what) => Wrap(
        value,
        ($"{what} negated", n => ($"({Is(n)} ^ (", "))")),
        ($"{what} true", n => ($"({Is(n)} || (", "))")),
        ($"{what} false", n => ($"(!{Is(n)} && (", "))")));

    private void Binary(BinaryExpressionSyntax node)
    {
        bool declares = Declares(node);
        string Plain(string operation) => $"({Flat(node.Left)}) {operation} ({Flat(node.Right)})";
        string? swapped = node.Kind() switch
        {
            SyntaxKind.LessThanExpression => "<=",
            SyntaxKind.LessThanOrEqualExpression => "<",
            SyntaxKind.GreaterThanExpression => ">=",
            SyntaxKind.GreaterThanOrEqualExpression => ">",
            SyntaxKind.EqualsExpression when node.Parent is not IfStatementSyntax => "!=",
            SyntaxKind.NotEqualsExpression when node.Parent is not IfStatementSyntax => "==",
            _ => null,
        };
        if (swapped is not null && !declares)
        {
            Wrap(node, ($"{node.OperatorToken.Text} is {swapped}", n => ($"({Is(n)} ? {Plain(swapped)} : ", ")")));
        }
        else if (node.Kind() is SyntaxKind.AddExpression or SyntaxKind.SubtractExpression && node.Right.ToString() == "1" && !declares)
        {
            Wrap(node, ($"{node.OperatorToken.Text} 1 left out", n => ($"({Is(n)} ? {Flat(node.Left)} : ", ")")));
        }
        else if (node.Kind() is SyntaxKind.LogicalAndExpression or SyntaxKind.LogicalOrExpression)
        {
            bool and = node.IsKind(SyntaxKind.LogicalAndExpression);
            foreach (ExpressionSyntax part in new[] { node.Left, node.Right })
            {
                // Of a chain, each part once.
                if (!part.IsKind(node.Kind()) && !Declares(part))
                {
                    Wrap(part, ("clause left out", n => and ? ($"({Is(n)} || (", "))") : ($"(!{Is(n)} && (", "))")));
                }
            }

            if (!declares)
            {
                Wrap(node, ($"{node.OperatorToken.Text} is {(and ? "||" : "&&")}", n => ($"({Is(n)} ? {Plain(and ? "||" : "&&")} : ", ")")));
            }
        }
    }

    private void Statement(ExpressionStatementSyntax statement)
    {
        if (Declares(statement) || statement.Expression is not (InvocationExpressionSyntax or AssignmentExpressionSyntax or AwaitExpressionSyntax or PostfixUnaryExpressionSyntax or PrefixUnaryExpressionSyntax))
        {
            return;
        }

        if (statement.Expression is AssignmentExpressionSyntax assignment)
        {
            SyntaxNode? member = MemberOf(statement);
            IEnumerable<string> targets = assignment.Left.DescendantNodesAndSelf().OfType<IdentifierNameSyntax>().Select(name => name.Identifier.Text);
            bool needed = member is not null && targets.Any(target => member.DescendantNodes().Any(n =>
                (n is VariableDeclaratorSyntax { Initializer: null } local && local.Identifier.Text == target && local.Parent?.Parent is LocalDeclarationStatementSyntax)
                || (n is ParameterSyntax parameter && parameter.Identifier.Text == target && parameter.Modifiers.Any(SyntaxKind.OutKeyword))));
            if (needed)
            {
                return;
            }
        }

        Wrap(statement, ($"{(statement.Expression is AssignmentExpressionSyntax ? "assignment" : "call")} left out", n => ($"{{ if (!{Is(n)}) ", " }")));
    }

    private void Return(ReturnStatementSyntax statement)
    {
        if (statement.Expression is { } value)
        {
            bool isBool = MemberOf(statement) is MethodDeclarationSyntax { ReturnType: PredefinedTypeSyntax type } && type.Keyword.IsKind(SyntaxKind.BoolKeyword) && !IsInLambda(statement);
            if (value.Kind() is SyntaxKind.TrueLiteralExpression or SyntaxKind.FalseLiteralExpression && isBool)
            {
                Wrap(value, ("answer turned", n => ($"{Is(n)} ^ ", "")));
            }
            else if (isBool && !Declares(value))
            {
                Truth(value, "answer");
            }
        }

        if (IsEarly(statement))
        {
            Wrap(statement, ("return left out", n => ($"if (!{Is(n)}) ", "")));
        }
    }

    // The last statement of an if without else that other statements follow.
    private static bool IsEarly(StatementSyntax statement) =>
        statement.Parent is BlockSyntax { Parent: IfStatementSyntax { Else: null, Parent: BlockSyntax outer } branch } block
        && block.Statements[^1] == statement && outer.Statements[^1] != branch && !branch.Condition.DescendantNodesAndSelf().Any(n => n is SingleVariableDesignationSyntax);

    private static bool IsInLambda(SyntaxNode node) =>
        node.Ancestors().TakeWhile(a => a is not MemberDeclarationSyntax).Any(a => a is AnonymousFunctionExpressionSyntax or LocalFunctionStatementSyntax);

    private static bool ReturnsBool(ArrowExpressionClauseSyntax arrow) => arrow.Parent switch
    {
        MethodDeclarationSyntax { ReturnType: PredefinedTypeSyntax type } => type.Keyword.IsKind(SyntaxKind.BoolKeyword),
        PropertyDeclarationSyntax { Type: PredefinedTypeSyntax type } => type.Keyword.IsKind(SyntaxKind.BoolKeyword),
        _ => false,
    };

    private static MemberDeclarationSyntax? MemberOf(SyntaxNode node) => node.Ancestors().OfType<MemberDeclarationSyntax>().FirstOrDefault();

    // On one line, without comments.
    private static string Flat(SyntaxNode node) => node.NormalizeWhitespace(" ", " ").ToString().ReplaceLineEndings(" ");

    private void Wrap(SyntaxNode node, params (string Change, Func<int, (string Prefix, string Suffix)> Make)[] changes)
    {
        if (MemberOf(node) is not { } member)
        {
            return;
        }

        FileLinePositionSpan around = member.SyntaxTree.GetLineSpan(member.Span);
        int line = node.SyntaxTree.GetLineSpan(node.Span).StartLinePosition.Line + 1;
        string code = Flat(node);
        foreach ((string change, Func<int, (string, string)> make) in changes)
        {
            var mutant = new Mutant(_nextNumber(), _file, line, (around.StartLinePosition.Line + 1, around.EndLinePosition.Line + 1), change, code.Length > 160 ? code[..160] : code);
            if (_keep(mutant))
            {
                Mutants.Add(mutant);
                (string prefix, string suffix) = make(mutant.Number);
                _edits.Add((node.SpanStart, node.Span.End, prefix, suffix));
            }
        }
    }
}
