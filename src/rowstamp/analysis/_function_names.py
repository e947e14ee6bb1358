"""The names behind `functions`: data, with where they come from.

PostgreSQL's come from `pg_proc` of version 18 (immutable, and of the stable ones those that read nothing but their
arguments; without the support functions of operators, types and indexes), SQLite's from `pragma_function_list` and the
manual up to 3.51, MariaDB's from `information_schema.sql_functions` of 10.11 and both manuals up to MariaDB 12 and MySQL 9.
"""

from typing import Final

STANDARD: Final = frozenset(
    """
    any array bigint binary bit blob bool boolean bytea case cast char character clob coalesce collation cube dec
    decimal double exists extract fixed float greatest grouping int integer interval least mediumint national nchar
    nullif numeric nvarchar overlay position real rollup row signed smallint some substring text tinyint treat trim
    unsigned varbinary varbit varchar varcharacter varying
    """.split()  # noqa: SIM905 - as a list it would fill pages
)
"""Functions and constructors that are keywords, and types that take arguments, everywhere."""

POSTGRESQL: Final = frozenset(
    """
    abbrev abs acos acosd acosh any_value area array_agg array_append array_cat array_dims array_fill array_length
    array_lower array_ndims array_position array_positions array_prepend array_remove array_replace array_reverse
    array_sort array_to_json array_to_string array_to_tsvector array_upper ascii asin asind asinh atan atan2 atan2d
    atand atanh avg bit bit_and bit_count bit_length bit_or bit_xor bitand bool bool_and bool_or bound_box box
    bpchar broadcast btrim bytea cardinality casefold cbrt ceil ceiling center char char_length character_length chr
    circle concat concat_ws convert convert_from convert_to corr cos cosd cosh cot cotd count covar_pop covar_samp
    crc32 crc32c cume_dist date date_add date_bin date_part date_subtract date_trunc datemultirange daterange decode
    degrees dense_rank diagonal diameter div encode enum_first enum_last enum_range erf erfc every exp extract
    factorial family first_value float4 float8 floor format format_type gamma gcd generate_series
    generate_subscripts get_bit get_byte hashtext height host hostmask inet_merge inet_same_family initcap int2 int4
    int4multirange int4range int8 int8multirange int8range interval is_normalized isclosed isempty isfinite
    ishorizontal isopen isparallel isperp isvertical json_agg json_agg_strict json_array json_array_elements
    json_array_elements_text json_array_length json_arrayagg json_build_array json_build_object json_each
    json_each_text json_exists json_object json_object_agg json_object_agg_strict json_object_agg_unique
    json_object_agg_unique_strict json_object_keys json_objectagg json_populate_record json_populate_recordset
    json_query json_scalar json_serialize json_strip_nulls json_table json_to_record json_to_recordset
    json_to_tsvector json_typeof json_value jsonb_agg jsonb_agg_strict jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_concat jsonb_contains
    jsonb_delete jsonb_each jsonb_each_text jsonb_exists jsonb_exists_all jsonb_exists_any jsonb_insert jsonb_object
    jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict
    jsonb_object_keys jsonb_path_exists jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query
    jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first jsonb_path_query_first_tz
    jsonb_path_query_tz jsonb_populate_record jsonb_populate_record_valid jsonb_populate_recordset jsonb_pretty
    jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_to_tsvector jsonb_typeof
    justify_days justify_hours justify_interval lag last_value lcm lead left length lgamma like line ln log log10
    lower lower_inc lower_inf lpad lseg ltrim macaddr macaddr8 macaddr8_set7bit make_date make_interval make_time
    make_timestamp make_timestamptz masklen max md5 merge_action min min_scale mod mode money multirange name
    netmask network normalize notlike npoints nth_value ntile num_nonnulls num_nulls numeric nummultirange numnode
    numrange octet_length overlaps overlay parse_ident path percent_rank percentile_cont percentile_disc pg_lsn
    pg_size_bytes pg_size_pretty pg_typeof phraseto_tsquery pi plainto_tsquery point polygon position pow power
    quote_ident quote_literal quote_nullable radians radius range_agg range_intersect_agg range_merge rank
    regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx
    regr_sxy regr_syy repeat replace reverse right round row_number row_to_json rpad rtrim scale set_bit set_byte
    set_masklen setweight sha224 sha256 sha384 sha512 sign sin sind sinh slope split_part sqrt starts_with stddev
    stddev_pop stddev_samp string_agg string_to_array string_to_table strip strpos substr substring sum tan tand
    tanh text textcat textlen time timestamp timestamptz timetz timezone to_ascii to_bin to_char to_date to_hex
    to_json to_jsonb to_number to_oct to_timestamp to_tsquery to_tsvector translate trim_array trim_scale trunc
    ts_debug ts_delete ts_filter ts_headline ts_lexize ts_parse ts_rank ts_rank_cd ts_token_type tsmultirange
    tsquery_and tsquery_or tsquery_phrase tsrange tstzmultirange tstzrange tsvector_concat tsvector_to_array
    unicode_assigned unistr unnest upper upper_inc upper_inf uuid_extract_timestamp uuid_extract_version var_pop
    var_samp varbit varchar variance websearch_to_tsquery width width_bucket xml xml_is_well_formed
    xml_is_well_formed_content xml_is_well_formed_document xmlagg xmlattributes xmlcomment xmlconcat xmlconcat2
    xmlelement xmlexists xmlforest xmlparse xmlpi xmlroot xmlserialize xmltable xmltext xpath xpath_exists
    """.split()  # noqa: SIM905 - as a list it would fill pages
)
"""Built-in functions of PostgreSQL that depend on their arguments alone."""

SQLITE: Final = frozenset(
    """
    abs acos acosh asin asinh atan atan2 atanh avg bm25 ceil ceiling char coalesce concat concat_ws cos cosh count
    cume_dist degrees dense_rank exp first_value floor format glob group_concat hex highlight if ifnull iif instr
    json json_array json_array_insert json_array_length json_each json_error_position json_extract json_group_array
    json_group_object json_insert json_object json_patch json_pretty json_quote json_remove json_replace json_set
    json_tree json_type json_valid jsonb jsonb_array jsonb_array_insert jsonb_each jsonb_extract jsonb_group_array
    jsonb_group_object jsonb_insert jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set jsonb_tree lag
    last_value lead length like likelihood likely ln log log10 log2 lower ltrim match max median min mod nth_value
    ntile nullif octet_length percent_rank percentile percentile_cont percentile_disc pi pow power printf quote
    radians rank regexp replace round row_number rtrim sign sin sinh snippet soundex sqrt string_agg substr
    substring sum tan tanh total trim trunc typeof unhex unicode unistr unistr_quote unlikely upper zeroblob
    """.split()  # noqa: SIM905 - as a list it would fill pages
)
"""Built-in functions of SQLite, with JSON, mathematics and FTS5, that depend on their arguments alone."""

MYSQL: Final = frozenset(
    """
    abs acos add_months adddate addtime aes_decrypt aes_encrypt any_value ascii asin atan atan2 avg bin bin_to_uuid
    bit_and bit_count bit_length bit_or bit_xor ceil ceiling char char_length character_length charset chr coalesce
    coercibility collation column_add column_check column_create column_delete column_exists column_get column_json
    column_list compress concat concat_ws conv convert convert_tz cos cot count crc32 crc32c cume_dist date date_add
    date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear decode default degrees dense_rank elt
    exp export_set extract extractvalue field find_in_set first_value floor format format_bytes format_pico_time
    from_base64 from_days from_unixtime geometrycollection get_format greatest group_concat grouping hex hour if
    ifnull inet6_aton inet6_ntoa inet_aton inet_ntoa insert instr is_ipv4 is_ipv4_compat is_ipv4_mapped is_ipv6
    is_uuid isnull json_array json_array_append json_array_insert json_array_intersect json_arrayagg json_compact
    json_contains json_contains_path json_depth json_detailed json_equals json_exists json_extract json_insert
    json_key_value json_keys json_length json_loose json_merge json_merge_patch json_merge_preserve json_normalize
    json_object json_object_filter_keys json_object_to_array json_objectagg json_overlaps json_pretty json_query
    json_quote json_remove json_replace json_schema_valid json_search json_set json_storage_size json_table
    json_type json_unquote json_valid json_value lag last_day last_value lcase lead least left length lengthb
    linestring ln locate log log10 log2 lower lpad ltrim make_set makedate maketime match max mbrcontains
    mbrdisjoint mbrequal mbrintersects mbroverlaps mbrtouches mbrwithin md5 median member microsecond mid min minute
    mod month monthname months_between multilinestring multipoint multipolygon name_const natural_sort_key nth_value
    ntile nullif nvl nvl2 oct octet_length ord percent_rank percentile_cont percentile_disc period_add period_diff
    pi point polygon position pow power quarter quote radians rank regexp_instr regexp_like regexp_replace
    regexp_substr repeat replace reverse right round row_number rpad rtrim sec_to_time second sformat sha sha1 sha2
    sign sin soundex space sqrt st_area st_asbinary st_asgeojson st_astext st_aswkb st_aswkt st_buffer st_centroid
    st_contains st_convexhull st_crosses st_difference st_dimension st_disjoint st_distance st_distance_sphere
    st_endpoint st_envelope st_equals st_exteriorring st_geohash st_geometryn st_geometrytype st_geomfromgeojson
    st_geomfromtext st_geomfromwkb st_interiorringn st_intersection st_intersects st_isclosed st_isempty st_issimple
    st_isvalid st_latfromgeohash st_latitude st_length st_longfromgeohash st_longitude st_numgeometries
    st_numinteriorrings st_numpoints st_overlaps st_pointfromtext st_pointn st_polygonfromtext st_simplify st_srid
    st_startpoint st_symdifference st_touches st_transform st_union st_within st_x st_y std stddev stddev_pop
    stddev_samp str_to_date strcmp subdate substr substring substring_index subtime sum tan time time_format
    time_to_sec timediff timestamp timestampadd timestampdiff to_base64 to_char to_days to_seconds trim truncate
    ucase uncompress uncompressed_length unhex updatexml upper uuid_to_bin value values var_pop var_samp variance
    week weekday weekofyear weight_string year yearweek
    """.split()  # noqa: SIM905 - as a list it would fill pages
)
"""Built-in functions of MySQL and MariaDB that depend on their arguments alone."""

ANYWHERE_VOLATILE: Final = frozenset(
    """
    clock_timestamp copy current_catalog current_date current_role current_schema current_time current_timestamp
    current_user database  explain gen_random_uuid getdate localtime localtimestamp now random
    session_user statement_timestamp sysdate system_user today tomorrow transaction_timestamp user version yesterday
    """.split()  # noqa: SIM905 - as a list it would fill pages
)
"""What depends on the moment, the user or the session on every database that has it."""

POSTGRESQL_VOLATILE: Final = frozenset(
    """
    aclexplode age array_sample array_shuffle bernoulli col_description current_database current_schema
    current_schemas current_setting current_user currval get_current_ts_config getdatabaseencoding getpgusername
    has_any_column_privilege has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege
    has_function_privilege has_language_privilege has_largeobject_privilege has_parameter_privilege
    has_schema_privilege has_sequence_privilege has_server_privilege has_table_privilege has_tablespace_privilege
    has_type_privilege inet_client_addr inet_client_port inet_server_addr inet_server_port lastval mxid_age nextval
    now obj_description oidvectortypes pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock
    pg_advisory_unlock_all pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared
    pg_available_extension_versions pg_available_extensions pg_backend_pid pg_basetype pg_blocking_pids
    pg_cancel_backend pg_char_to_encoding pg_client_encoding pg_collation_actual_version pg_collation_for
    pg_collation_is_visible pg_column_compression pg_column_is_updatable pg_column_size pg_column_toast_chunk_id
    pg_conf_load_time pg_config pg_conversion_is_visible pg_current_snapshot pg_current_wal_flush_lsn
    pg_current_wal_insert_lsn pg_current_wal_lsn pg_current_xact_id pg_current_xact_id_if_assigned pg_cursor
    pg_database_collation_actual_version pg_database_size pg_describe_object pg_encoding_to_char pg_export_snapshot
    pg_extension_update_paths pg_filenode_relation pg_function_is_visible pg_get_acl pg_get_catalog_foreign_keys
    pg_get_constraintdef pg_get_expr pg_get_function_arg_default pg_get_function_arguments
    pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody pg_get_functiondef
    pg_get_indexdef pg_get_keywords pg_get_object_address pg_get_partition_constraintdef pg_get_partkeydef
    pg_get_publication_tables pg_get_replica_identity_index pg_get_replication_slots pg_get_ruledef
    pg_get_serial_sequence pg_get_statisticsobjdef pg_get_statisticsobjdef_columns
    pg_get_statisticsobjdef_expressions pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role
    pg_identify_object pg_identify_object_as_address pg_index_column_has_property pg_index_has_property
    pg_indexam_has_property pg_indexes_size pg_input_error_info pg_input_is_valid pg_is_in_recovery
    pg_is_other_temp_schema pg_jit_available pg_last_wal_receive_lsn pg_last_wal_replay_lsn
    pg_last_xact_replay_timestamp pg_listening_channels pg_lock_status pg_mcv_list_items pg_my_temp_schema pg_notify
    pg_numa_available pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_options_to_table
    pg_partition_ancestors pg_partition_tree pg_postmaster_start_time pg_prepared_statement pg_relation_filenode
    pg_relation_filepath pg_relation_is_publishable pg_relation_is_updatable pg_relation_size
    pg_replication_origin_oid pg_sequence_last_value pg_sequence_parameters pg_settings_get_flags
    pg_show_all_settings pg_sleep pg_sleep_for pg_sleep_until pg_split_walfile_name pg_stat_clear_snapshot
    pg_stat_get_activity pg_stat_get_analyze_count pg_stat_get_archiver pg_stat_get_autoanalyze_count
    pg_stat_get_autovacuum_count pg_stat_get_backend_activity pg_stat_get_backend_activity_start
    pg_stat_get_backend_client_addr pg_stat_get_backend_client_port pg_stat_get_backend_dbid
    pg_stat_get_backend_idset pg_stat_get_backend_pid pg_stat_get_backend_start pg_stat_get_backend_subxact
    pg_stat_get_backend_userid pg_stat_get_backend_wait_event pg_stat_get_backend_wait_event_type
    pg_stat_get_backend_xact_start pg_stat_get_bgwriter_buf_written_clean pg_stat_get_bgwriter_maxwritten_clean
    pg_stat_get_bgwriter_stat_reset_time pg_stat_get_blocks_fetched pg_stat_get_blocks_hit pg_stat_get_buf_alloc
    pg_stat_get_checkpointer_buffers_written pg_stat_get_checkpointer_num_performed
    pg_stat_get_checkpointer_num_requested pg_stat_get_checkpointer_num_timed
    pg_stat_get_checkpointer_restartpoints_performed pg_stat_get_checkpointer_restartpoints_requested
    pg_stat_get_checkpointer_restartpoints_timed pg_stat_get_checkpointer_slru_written
    pg_stat_get_checkpointer_stat_reset_time pg_stat_get_checkpointer_sync_time pg_stat_get_checkpointer_write_time
    pg_stat_get_db_active_time pg_stat_get_db_blk_read_time pg_stat_get_db_blk_write_time
    pg_stat_get_db_blocks_fetched pg_stat_get_db_blocks_hit pg_stat_get_db_checksum_failures
    pg_stat_get_db_checksum_last_failure pg_stat_get_db_conflict_all pg_stat_get_db_conflict_bufferpin
    pg_stat_get_db_conflict_lock pg_stat_get_db_conflict_logicalslot pg_stat_get_db_conflict_snapshot
    pg_stat_get_db_conflict_startup_deadlock pg_stat_get_db_conflict_tablespace pg_stat_get_db_deadlocks
    pg_stat_get_db_idle_in_transaction_time pg_stat_get_db_numbackends pg_stat_get_db_parallel_workers_launched
    pg_stat_get_db_parallel_workers_to_launch pg_stat_get_db_session_time pg_stat_get_db_sessions
    pg_stat_get_db_sessions_abandoned pg_stat_get_db_sessions_fatal pg_stat_get_db_sessions_killed
    pg_stat_get_db_stat_reset_time pg_stat_get_db_temp_bytes pg_stat_get_db_temp_files pg_stat_get_db_tuples_deleted
    pg_stat_get_db_tuples_fetched pg_stat_get_db_tuples_inserted pg_stat_get_db_tuples_returned
    pg_stat_get_db_tuples_updated pg_stat_get_db_xact_commit pg_stat_get_db_xact_rollback pg_stat_get_dead_tuples
    pg_stat_get_function_calls pg_stat_get_function_self_time pg_stat_get_function_total_time
    pg_stat_get_ins_since_vacuum pg_stat_get_last_analyze_time pg_stat_get_last_autoanalyze_time
    pg_stat_get_last_autovacuum_time pg_stat_get_last_vacuum_time pg_stat_get_lastscan pg_stat_get_live_tuples
    pg_stat_get_mod_since_analyze pg_stat_get_numscans pg_stat_get_progress_info pg_stat_get_replication_slot
    pg_stat_get_slru pg_stat_get_snapshot_timestamp pg_stat_get_subscription pg_stat_get_subscription_stats
    pg_stat_get_total_analyze_time pg_stat_get_total_autoanalyze_time pg_stat_get_total_autovacuum_time
    pg_stat_get_total_vacuum_time pg_stat_get_tuples_deleted pg_stat_get_tuples_fetched
    pg_stat_get_tuples_hot_updated pg_stat_get_tuples_inserted pg_stat_get_tuples_newpage_updated
    pg_stat_get_tuples_returned pg_stat_get_tuples_updated pg_stat_get_vacuum_count pg_stat_get_wal
    pg_stat_get_wal_receiver pg_stat_get_wal_senders pg_statistics_obj_is_visible pg_table_is_visible pg_table_size
    pg_tablespace_databases pg_tablespace_location pg_tablespace_size pg_terminate_backend
    pg_timezone_abbrevs_abbrevs pg_timezone_abbrevs_zone pg_timezone_names pg_total_relation_size pg_trigger_depth
    pg_try_advisory_lock pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
    pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible
    pg_type_is_visible pg_xact_commit_timestamp pg_xact_status random_normal regclass row_security_active
    session_user set_config setseed setval shobj_description statement_timestamp system system_user timeofday to_regclass
    to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole to_regtype
    to_regtypemod transaction_timestamp txid_current txid_current_if_assigned txid_current_snapshot txid_status
    uuidv4 uuidv7 version
    """.split()  # noqa: SIM905 - as a list it would fill pages
)
"""What depends on more than its arguments on PostgreSQL, or acts, but never on a table's rows."""

SQLITE_VOLATILE: Final = frozenset(
    """
    changes date datetime fts5_source_id julianday last_insert_rowid randomblob sqlite_compileoption_get
    sqlite_compileoption_used sqlite_source_id sqlite_version strftime time timediff total_changes unixepoch
    """.split()  # noqa: SIM905 - as a list it would fill pages
)
"""The same on SQLite. Its functions for dates know 'now', and some take it for a missing argument."""

MYSQL_VOLATILE: Final = frozenset(
    """
    connection_id curdate current_role curtime found_rows get_lock is_free_lock is_used_lock last_insert_id lastval
    master_gtid_wait master_pos_wait nextval ps_current_thread_id rand random_bytes release_all_locks release_lock
    roles_graphml row_count schema schemas sleep sys_guid unix_timestamp utc_date utc_time utc_timestamp uuid
    uuid_short
    """.split()  # noqa: SIM905 - as a list it would fill pages
)
"""The same on MySQL and MariaDB."""
