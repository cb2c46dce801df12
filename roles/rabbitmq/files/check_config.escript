#!/usr/bin/env escript
%% Checks a file of RabbitMQ before it is put in place: check_config (conf|terms) FILE.
%%
%% conf: rabbitmq.conf, against the schemas that RabbitMQ and its plugins bring, by the library with which RabbitMQ itself
%% reads it (cuttlefish): it knows each key and the type of its value. terms: a file of Erlang terms.

main(["conf", File]) ->
    Plugins = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/*",
    [code:add_pathz(Path) || Path <- filelib:wildcard(Plugins ++ "/ebin")],
    Schema = cuttlefish_schema:files(filelib:wildcard(Plugins ++ "/priv/schema/*.schema")),
    case cuttlefish_conf:file(File) of
        {errorlist, Errors} -> refuse(Errors);
        Conf ->
            case cuttlefish_generator:map(Schema, Conf) of
                {error, _Phase, {errorlist, Errors}} -> refuse(Errors);
                _ -> ok
            end
    end;
main(["terms", File]) ->
    case file:consult(File) of
        {ok, _} -> ok;
        {error, Error} -> refuse_with(file:format_error(Error))
    end.

refuse(Errors) ->
    refuse_with(lists:join("; ", [cuttlefish_error:xlate(element(2, Error)) || Error <- Errors])).

refuse_with(Words) ->
    io:format(standard_error, "~ts~n", [Words]),
    halt(1).
